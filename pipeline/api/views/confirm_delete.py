"""What a page asks before it deletes: what goes, and what depends on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.api.body import read_object
from pipeline.catalogue import source_data, writes

if TYPE_CHECKING:
    from pipeline.api.endpoint import Call

MOST_NAMED = 100
PATHS = {"layer": "rasters", "label type": "labeltypes", "scenario": "scenarios"}


@dataclass(frozen=True)
class Dependent:
    """Something that uses what is to be deleted."""

    kind: str
    name: str
    """The uuid where the caller may not read it."""
    url: str


@dataclass(frozen=True)
class Question:
    """What a person reads before a deletion."""

    sentences: Sequence[str]
    content: str
    """The body of the deletion, JSON."""
    label: str = "Delete"
    dependents: Sequence[Dependent] = ()
    more: int = 0
    """How many dependents are not named."""


async def ask_about_source(call: "Call", source: Any) -> Question:
    """What goes with a raster source, and what is broken by that."""
    database = call.api.database
    (used,) = await database.rows(writes.count_dependents(source.uuid))
    rows = await database.rows(writes.list_dependents(call.caller, source.uuid))
    (files,) = await database.rows(source_data.select_file_counts(source.id))
    sentences = [f'The raster source "{source.name}" will be deleted.', *explain_files(files)]
    content, label = await read_object(call.body), "Delete"
    if used.layers or used.labeltypes:
        users = f"{count(used.layers, 'layer')} and {count(used.labeltypes, 'label type')}"
        sentences.append(f"Used by {users}: deleting it breaks them.")
        content, label = {**content, "force": True}, "Delete and break what uses it"
    named = [
        Dependent(row.kind, row.name or str(row.uuid), call.links.to(PATHS[row.kind], row.uuid))
        for row in rows[:MOST_NAMED]
    ]
    return Question(sentences, orjson.dumps(content).decode(), label, named, len(rows) - len(named))


def explain_files(files: Any) -> list[str]:
    """What becomes of the files of a raster source, and of the uploads that wait."""
    found = [
        f"{count(files.files, 'raster file')} ({files.bytes:,} bytes) will leave the catalogue."
    ]
    if files.files:
        kept = files.files - files.uploaded
        found.append(
            f"Deleted from the storage of uploads: {files.uploaded}. Kept where they are: {kept}."
        )
    if files.waiting:
        found.append(f"{count(files.waiting, 'waiting upload')} will be ended.")
    return found


async def ask_about_data(call: "Call", counts: Any) -> Question:
    """What a deletion of data would remove, by the counts that it would answer."""
    sentences = [
        f"{count(counts['removed'], 'raster file')} will be removed.",
        f"{count(counts['revoked'], 'waiting upload')} will be ended.",
    ]
    if counts["partly"]:
        sentences.append(
            f"{count(counts['partly'], 'raster file')} will stay: only some of their steps are meant."
        )
    return Question(sentences, orjson.dumps(await read_object(call.body)).decode())


def count(number: int, name: str) -> str:
    """A number with its noun."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"
