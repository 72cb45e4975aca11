"""Which raster source a file belongs to, by its definition."""

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.definitions.definition import PLACEHOLDER, Definition
from pipeline.errors import Unmatched
from pipeline.raster import TimeTags, date_file, text_to_search
from pipeline.storage import StoredFile, path_of


@dataclass(frozen=True)
class SourceGroup:
    """The raster source that a file belongs to."""

    key: str
    """Stable within the definition."""
    name: str


def group_of(definition: Definition, file: StoredFile) -> SourceGroup:
    """The group of one file; raises Unmatched when the pattern that groups does not fit its path."""
    parts = named_parts(definition.pattern, file.path)
    key = {"file": file.uri, "all": "all"}.get(definition.group) or parts.get(definition.group)
    if not key:
        raise Unmatched(
            f'its path does not fit the pattern of "{definition.id}"; mend the pattern or the glob'
        )
    parts["stem"] = file.path.stem
    name = PLACEHOLDER.sub(lambda found: parts.get(found[1], ""), definition.name)[:255]
    return SourceGroup(storable(key), storable(name if name.strip() else file.path.name)[:255])


def are_different_steps(definition: Definition, one: str, other: str) -> bool:
    """Whether two URIs name different steps of one source, which keeps its files also when they are missing."""
    if definition.group == "file" or definition.missing != "keep":
        return False
    rule = definition.time_rule()
    times = [date_file(Path(path_of(uri)), TimeTags(), rule).times for uri in (one, other)]
    return all(times) and times[0] != times[1]


def named_parts(pattern: str | None, path: Path) -> dict[str, str]:
    """The named groups of a pattern in a path; empty where it does not fit."""
    expression = re.compile(pattern or "")
    found = expression.search(text_to_search(expression, path))
    return {name: part or "" for name, part in found.groupdict().items()} if found else {}


def storable(text: str) -> str:
    """The text as the database can hold it: bytes that are no UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode()
