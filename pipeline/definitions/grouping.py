"""Finds the raster source to which a file of a definition belongs."""

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.definitions.definition import BY_COLLECTION, PLACEHOLDER, Definition
from pipeline.errors import Unmatched
from pipeline.raster import TimeTags, date_file, text_to_search
from pipeline.storage import StoredFile, path_of, storable_text


@dataclass(frozen=True)
class SourceGroup:
    """The files of a definition that form one raster source."""

    key: str
    """Identifies the source within the definition."""
    name: str


def group_of(definition: Definition, file: StoredFile, grid: str = "") -> SourceGroup:
    """Return the group of a file. `grid` is the grid of a file of an imported collection.

    Raises Unmatched if the path does not match the pattern of the definition.
    """
    if definition.group == BY_COLLECTION and file.stated and file.stated.group:
        return SourceGroup(f"{file.stated.group} {grid}", file.stated.name)
    parts = _named_parts(definition.pattern, file.path)
    key = {"file": file.uri, BY_COLLECTION: file.uri, "all": "all"}.get(
        definition.group
    ) or parts.get(definition.group)
    if not key:
        raise Unmatched(
            f'its path does not match the pattern of "{definition.id}"; correct the pattern or the glob'
        )
    parts["stem"] = file.path.stem
    name = PLACEHOLDER.sub(lambda match: parts.get(match[1], ""), definition.name)[:255]
    name = storable_text(name if name.strip() else file.path.name)[:255]
    return SourceGroup(storable_text(key), name)


def are_different_steps(definition: Definition, uri: str, other: str) -> bool:
    """Return whether two files are different time steps of one source that keeps missing files."""
    if definition.group == "file" or definition.missing != "keep":
        return False
    rule, paths = definition.time_rule(), (Path(path_of(name)) for name in (uri, other))
    times, other_times = (date_file(path, TimeTags(), rule).times for path in paths)
    return bool(times and other_times) and times != other_times


def _named_parts(pattern: str | None, path: Path) -> dict[str, str]:
    """Return the named groups of a pattern that matches a path; empty if it does not match."""
    expression = re.compile(pattern or "")
    match = expression.search(text_to_search(expression, path))
    return {name: part or "" for name, part in match.groupdict().items()} if match else {}
