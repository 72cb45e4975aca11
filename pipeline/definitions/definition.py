"""Source definitions: how files map to raster sources; a `[[source]]`, or the arguments of `register`."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipeline.definitions.fields import (
    ASSIGNING,
    Assigning,
    Code,
    Disagreement,
    Duration,
    Entries,
    Name,
    Pattern,
    Text,
    Username,
    Zone,
    a_time,
)
from pipeline.definitions.validation_errors import faults_of
from pipeline.errors import CatalogueError
from pipeline.raster import (
    Budget,
    ReadOptions,
    TimeRule,
    check_format,
    compile_pattern,
    conflicting_zone,
    has_time_groups,
)
from pipeline.storage import Location, parse_location

PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""What is filled in into the name of a source."""
Count = Annotated[int, Field(strict=True, ge=1)]


class Limits(BaseModel):
    """What reading one file of a definition may cost, where it differs from the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seconds: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    """Time that reading one file may take."""
    pixels: Count | None = None
    """Width times height."""
    bands: Count | None = None
    """Bands of one file."""
    header_bytes: Count | None = None
    """Bytes of the header that may be read."""
    tag_bytes: Count | None = None
    """Bytes of one tag."""
    ifds: Count | None = None
    """Images and overviews in one file."""


class Definition(Assigning):
    """One `[[source]]` of a `sources.toml`."""

    files: Entries
    """Globs, folders or files, relative to the sources.toml, or URLs such as "s3://bucket/rain/*.tif"."""
    name: Name = "{stem}"
    """Name of the source; `{stem}` and the named groups of `pattern` are filled in."""
    organisation: Name
    """Who owns the sources; must exist, unless a run is told to create it."""
    access_modifier: Literal["Public", "Common", "Private", "Hidden"] = "Private"
    """Who may see the sources."""
    supplier: Username | None = None
    """Username of who supplies the files; must exist, unless a run is told to create it."""
    supplier_code: Code | None = None
    """The supplier's own name for the source."""
    description: Text | None = None
    """Free text."""
    temporal: Annotated[bool, Field(strict=True)] = False
    """The files are time steps; a file whose time nothing says is refused."""
    time: Annotated[datetime | Literal["tag"] | None, BeforeValidator(a_time)] = None
    """One time for all files, or "tag": TIFFTAG_DATETIME dates them."""
    group: str = "file"
    """`file`: a source per file; `all`: one source; else a named group of `pattern`: a source per value."""
    pattern: Pattern | None = None
    """Regular expression searched in the path; its group `time` is the time of the file."""
    time_format: str | None = None
    """strptime format of the group `time`."""
    time_zone: Zone = "UTC"
    """Zone of times without an offset, and of `schedule`; an IANA name such as "Europe/Amsterdam"."""
    interval: Duration | None = None
    """Declared time between steps, such as "00:05:00", "PT5M" or 300."""
    uuid: UUID | None = None
    """The uuid that the source gets when it is made; only with group = "all"."""
    missing: Literal["keep", "remove"] = "keep"
    """What happens to files that are gone: they stay in their source and are marked, or leave it."""
    max_missing_percent: Annotated[float, Field(strict=True, ge=0, le=100)] = 20
    """A sync refuses when a larger share of the files is missing, as when a disk is not mounted."""
    limits: Limits | None = None
    """What reading one file may cost, where it differs from the settings."""

    def disagreements(self, context: Any) -> Iterator[Disagreement]:
        """The fields that do not go with the others."""
        yield from super().disagreements(context)
        groups = re.compile(self.pattern or "").groupindex
        if self.group not in ("file", "all", *groups):
            sentence = f'"{self.group}" is neither "file" nor "all" nor a named group of pattern'
            yield "group", sentence
        unknown = set(PLACEHOLDER.findall(self.name)) - {"stem", *groups}
        if unknown:
            sentence = f"{{{min(unknown)}}} is neither {{stem}} nor a named group of pattern"
            yield "name", sentence
        if has_time_groups(groups):
            try:
                compile_pattern(self.pattern or "", self.time_format)
            except CatalogueError as error:
                yield "pattern", f"cannot date files: {error}"
        yield from self._format_disagreements()
        if self.uuid and self.group != "all":
            yield "uuid", 'is that of one source, which needs group = "all"'

    def _format_disagreements(self) -> Iterator[Disagreement]:
        if self.time_format is None:
            return
        if "time" not in re.compile(self.pattern or "").groupindex:
            yield "time_format", "is the form of a group named time, which pattern does not have"
        try:
            check_format(self.time_format)
        except CatalogueError as error:
            yield "time_format", f"cannot date files: {error}"
        if said := conflicting_zone(self.time_format, self.time_zone):
            sentence = (
                f"says {said} and time_zone is {self.time_zone}; "
                "write %z to read Z or an offset, or correct time_zone"
            )
            yield "time_format", sentence

    def time_rule(self) -> TimeRule:
        """How files of this definition are dated."""
        return TimeRule(
            time=self.time if isinstance(self.time, datetime) else None,
            pattern=self.pattern
            if has_time_groups(re.compile(self.pattern or "").groupindex)
            else None,
            time_format=self.time_format,
            time_zone=self.time_zone,
            from_tag=self.temporal or self.time == "tag",
        )

    def options(self, options: ReadOptions) -> ReadOptions:
        """The options of a run, as this definition changes them."""
        limits = self.limits.model_dump(exclude_none=True) if self.limits else {}
        budget: Budget = replace(options.budget, **limits)
        return replace(options, time_rule=self.time_rule(), assigned=self.assigned, budget=budget)

    def hash(self) -> str:
        """Changes when what it says of its sources does; where its files are and when it runs does not count.

        The part after the dot changes with how sources are named, the one before it with all else.
        """
        filled_in = set(PLACEHOLDER.findall(self.name)) - {"stem"}
        naming = self.model_dump_json(include={"name"} | ({"pattern"} if filled_in else set()))
        return f"{short_hash(self.model_dump_json(exclude=NOT_OF_SOURCES | {'name'}))}.{short_hash(naming)}"

    def reading_hash(self) -> str:
        """Changes when its files must be read again though they are the same."""
        limits = {"limits"} if self.limits else set()
        return short_hash(self.model_dump_json(include=READING | limits | self.assigning()))


NOT_OF_SOURCES = {
    "files", "settle_seconds", "schedule", "every", "uuid", "missing", "max_missing_percent", "limits", *ASSIGNING,
}  # fmt: skip
"""The fields that say nothing of a source that is there."""
READING = {"temporal", "time", "group", "pattern", "time_format", "time_zone"}
"""The fields that what is read from a file depends on, or which source it goes to; and limits and what is assigned,
where there are any."""


def short_hash(text: str) -> str:
    """A short hash."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def make_definition(fields: Mapping[str, object], where: str) -> Definition:
    """A definition from its fields; raises CatalogueError that names the wrong one."""
    try:
        return Definition.model_validate(fields)
    except ValidationError as error:
        raise CatalogueError(f"{where}: {next(faults_of(error, Definition))}") from error


def locations_of(definition: Definition, folder: Path) -> list[Location]:
    """The places that a definition names, relative to a folder. Raises CatalogueError for one that is none."""
    return [parse_location(entry, folder) for entry in definition.files]
