"""Composes the questions of pages before a deletion: what is deleted, and what depends on it."""

from typing import Any

import orjson

from pipeline.api.body import read_object
from pipeline.api.endpoint import Call, read_row
from pipeline.api.responses import Answer, Dependent, Question
from pipeline.api.site.formats import show_count
from pipeline.api.views.list_detail import WriteDetail
from pipeline.catalogue import before_writes
from pipeline.catalogue.upload_states import OPEN_STATES
from pipeline.database.queries import queries

QUERIES = queries("source_data")
MAX_DEPENDENTS = 100
PATHS = {"layer": "rasters", "label type": "labeltypes", "scenario": "scenarios"}


class RasterSourceDetail(WriteDetail):
    """The detail of a raster source; its page names dependents and files before a deletion."""

    async def question(self, call: Call, answer: Answer) -> Question:  # noqa: ARG002
        """Return the question with the dependents and the number of files."""
        source = await read_row(call, self.resource)
        database = call.api.database
        (used,) = await database.rows(before_writes.count_dependents(source.uuid))
        rows = await database.rows(before_writes.list_dependents(call.caller, source.uuid))
        parameters = {"source": source.id, "open_states": OPEN_STATES}
        (counts,) = await database.rows(QUERIES["count_files"], **parameters)
        sentences = [f'The raster source "{source.name}" will be deleted.', *explain_files(counts)]
        content, label = await read_object(call.body), "Delete"
        if used.layers or used.labeltypes:
            numbers = {"layer": used.layers, "label type": used.labeltypes}
            users = " and ".join(
                show_count(number, kind) for kind, number in numbers.items() if number
            )
            broken = "it" if sum(numbers.values()) == 1 else "them"
            sentences.append(f"Used by {users}: deleting it breaks {broken}.")
            content, label = {**content, "force": True}, "Delete and break what uses it"
        dependents = [
            Dependent(row.kind, row.name or str(row.uuid), call.links.to(PATHS[row.kind], row.uuid))
            for row in rows[:MAX_DEPENDENTS]
        ]
        more = len(rows) - len(dependents)
        return Question(sentences, orjson.dumps(content).decode(), label, dependents, more)


def explain_files(counts: Any) -> list[str]:
    """Return sentences about the files of a raster source and its open uploads."""
    files = show_count(counts.files, "raster file")
    sentences = [f"{files} ({counts.bytes:,} bytes) will leave the catalogue."]
    if counts.uploaded:
        files = show_count(counts.uploaded, "uploaded file")
        sentences.append(f"{files} will be deleted from the storage.")
    if kept := counts.files - counts.uploaded:
        places = "stays where it is" if kept == 1 else "stay where they are"
        sentences.append(f"{show_count(kept, 'file')} {places}.")
    if counts.waiting:
        sentences.append(f"{show_count(counts.waiting, 'waiting upload')} will be cancelled.")
    return sentences


async def ask_about_data(call: Call, counts: Any) -> Question:
    """Return the question before a deletion of data; `counts` is the answer of its dry run."""
    sentences = [
        f"{show_count(counts['removed'], 'raster file')} will be removed.",
        f"{show_count(counts['revoked'], 'waiting upload')} will be cancelled.",
    ]
    if counts["partly"]:
        files = show_count(counts["partly"], "raster file")
        sentences.append(f"{files} will stay, because only some of their steps lie in the period.")
    return Question(sentences, orjson.dumps(await read_object(call.body)).decode())
