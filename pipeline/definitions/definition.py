"""Source definitions: a `[[source]]`, or the arguments of `register`, defines the files of raster sources."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline import raster
from pipeline.definitions import field_types
from pipeline.definitions.field_types import Conflict
from pipeline.definitions.validation_errors import faults_of
from pipeline.errors import CatalogueError
from pipeline.storage import Location, parse_location

PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""A placeholder in a name, such as `{stem}`."""
BY_COLLECTION = "collection"
"""One raster source for each combination of collection, asset and grid of an imported catalogue."""
Count = Annotated[int, Field(strict=True, ge=1)]


class CommonFields(BaseModel):
    """The fields that `[[source]]` and `[[drop]]` share."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: field_types.Id
    """Stable name of the definition, by which later runs find its sources. Letters, digits, `.`, `_`, `-`; not
    `register`; unique in the file, across both kinds of tables."""
    settle_seconds: field_types.SettleSeconds = 0
    """Files that changed less than this many seconds ago wait for a later run. So do files with a modification time
    this little in the future, because clocks differ. Use 10 to 60 if files are copied into the folder slowly, 0 if
    they are moved into it."""
    schedule: field_types.Schedule | None = None
    """When to sync: a cron line of five fields in the zone `time_zone`, such as `"0 6 * * *"`; see docs/scheduling.md;
    not together with `every`."""
    every: field_types.Every | None = None
    """How often to sync, such as `"00:05:00"`, `"PT5M"` or 300; at least one second; not together with `schedule`."""
    crs: field_types.Crs | None = None
    """CRS of files without a CRS, as authority and code, such as `"EPSG:28992"`; see docs/how-to/old-files.md."""
    crs_override: Annotated[bool, Field(strict=True)] = False
    """Use `crs` even for files with another CRS, or with an unusable one."""
    nodata: field_types.Nodata = None
    """Nodata value of files without a nodata value, such as -9999 or `"nan"`."""

    @model_validator(mode="after")
    def check_conflicts(self, info: ValidationInfo) -> Self:
        """Raise a validation error that lists the conflicts between fields."""
        if conflicts := tuple(self.conflicts(info.context)):
            raise PydanticCustomError("conflict", "fields conflict", {"conflicts": conflicts})
        return self

    def conflicts(self, _context: Any) -> Iterator[Conflict]:
        """Yield the conflicts between fields. The context is the folder of the sources.toml."""
        if self.schedule is not None and self.every is not None:
            yield "every", "cannot be combined with schedule; remove one of them"
        if self.crs_override and self.crs is None:
            yield "crs_override", "needs crs; give crs too"

    @property
    def assigned(self) -> raster.AssignedValues:
        """The values for files without them."""
        by = "the command line" if self.id == field_types.REGISTER_ID else f'definition "{self.id}"'
        return raster.AssignedValues(self.crs, self.crs_override, self.nodata, by)

    def assigned_fields(self) -> set[str]:
        """Return the assigned fields that are set; the others must not change the hashes of older definitions."""
        return {name for name in field_types.ASSIGNED_FIELDS if getattr(self, name)}


class Limits(BaseModel):
    """Limits for reading one file of a definition; they replace those of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seconds: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    """Maximum seconds for reading one file (`RASTERSOURCES_FILE_SECONDS`)."""
    pixels: Count | None = None
    """Maximum of width times height (`RASTERSOURCES_MAX_PIXELS`)."""
    bands: Count | None = None
    """Maximum bands of one file (`RASTERSOURCES_MAX_BANDS`)."""
    header_bytes: Count | None = None
    """Maximum bytes that are read of the header (`RASTERSOURCES_MAX_HEADER_BYTES`)."""
    tag_bytes: Count | None = None
    """Maximum bytes of one tag (`RASTERSOURCES_MAX_TAG_BYTES`)."""
    ifds: Count | None = None
    """Maximum images and overviews in one file (`RASTERSOURCES_MAX_IFDS`)."""


class Definition(CommonFields):
    """One `[[source]]` of a `sources.toml`."""

    groups: ClassVar[tuple[str, ...]] = ("file", "all")
    """Valid values of `group`, other than a named group of `pattern`."""

    files: field_types.Entries
    """A glob, a folder or a file, relative to the sources.toml, a URL such as `"s3://bucket/rain/*.tif"`, or a list of
    them; see docs/sources.md#where-files-are."""
    name: field_types.Name = "{stem}"
    """Name of the source. `{stem}` (the file's name without its suffix) and the named groups of `pattern` are replaced.
    If the result is blank, the file's name is used."""
    organisation: field_types.Name
    """Organisation that owns the sources. It must exist, unless you use `--create`."""
    access_modifier: Literal["Public", "Common", "Private", "Hidden"] = "Private"
    """Who may see the sources: `Public` (everyone), `Common` (everyone who signed in), `Private` (the organisation) or
    `Hidden` (its administrators and the supplier)."""
    supplier: field_types.Username | None = None
    """Username of the supplier of the files. It must exist, unless you use `--create`."""
    supplier_code: field_types.Code | None = None
    """The supplier's own name for the source."""
    description: field_types.Text | None = None
    """Free text."""
    temporal: Annotated[bool, Field(strict=True)] = False
    """The files are time steps. A file without a time is rejected (`missing_time`)."""
    time: Annotated[
        datetime | Literal["tag"] | None, BeforeValidator(field_types.parse_time_field)
    ] = None
    """A time with its offset for all files, or `"tag"` for the time in TIFFTAG_DATETIME."""
    group: str = "file"
    """`file`: one source per file. `all`: one source. A named group of `pattern`: one source per value of the group."""
    pattern: field_types.Pattern | None = None
    """Regular expression to search in the file's name and, if it does not match, in the whole path. The time is its
    group `time`, or its groups `year`, `month`, `day` and so on together; see docs/metadata.md#time. Other groups can
    name and group files."""
    time_format: str | None = None
    """strptime format of the group `time`; it must contain a date, see docs/metadata.md#patterns-and-formats.
    Default: ISO 8601 and its compact forms."""
    time_zone: field_types.ZoneName = "UTC"
    """Zone of times without an offset, and of `schedule`; an IANA name such as `"Europe/Amsterdam"`."""
    interval: field_types.Duration | None = None
    """Declared time between steps, such as `"00:05:00"`, `"PT5M"` or 300. Default: derived from three or more
    equidistant steps."""
    uuid: UUID | None = None
    """The uuid of the source when it is created, for clients that already use it; only with `group = "all"`. An
    existing source with this uuid becomes the source of the definition, and stays when the definition is removed."""
    missing: Literal["keep", "remove"] = "keep"
    """What happens to files that no longer exist. `keep`: they stay in their source and are marked as missing.
    `remove`: they are removed from it."""
    max_missing_percent: Annotated[float, Field(strict=True, ge=0, le=100)] = 20
    """A sync stops if a larger share of the definition's files is missing, for example because a disk is not
    mounted."""
    limits: Limits | None = None
    """Limits for reading one file, in place of those of the settings; see docs/sources.md#limits."""

    @classmethod
    def make(cls, fields: Mapping[str, object]) -> Self:
        """Return a definition with these fields. Raises CatalogueError with the option of the first wrong one."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            fault = next(faults_of(error, cls))
            option = "-".join(map(str, fault.path)).replace("_", "-")
            raise CatalogueError(f"--{option}: {fault.sentence}") from error

    def conflicts(self, context: Any) -> Iterator[Conflict]:
        """Yield the conflicts between fields."""
        yield from super().conflicts(context)
        groups = re.compile(self.pattern or "").groupindex
        if self.group not in (*self.groups, *groups):
            yield (
                "group",
                f'"{self.group}" is not "file", "all" or a named group of pattern',
            )
        if unknown := set(PLACEHOLDER.findall(self.name)) - {"stem", *groups}:
            yield "name", f"{{{min(unknown)}}} is not {{stem}} or a named group of pattern"
        if raster.has_time_groups(groups):
            try:
                raster.compile_pattern(self.pattern or "", self.time_format)
            except CatalogueError as error:
                yield "pattern", f"cannot date files: {error}"
        if self.time_format is not None:
            yield from self._format_conflicts(self.time_format, has_time="time" in groups)
        if self.uuid and self.group != "all":
            yield "uuid", 'needs group = "all", because only one source can have it'

    def _format_conflicts(self, time_format: str, *, has_time: bool) -> Iterator[Conflict]:
        if not has_time:
            yield "time_format", "needs a group named time in pattern"
        try:
            raster.check_format(time_format)
        except CatalogueError as error:
            yield "time_format", f"cannot date files: {error}"
        if zone := raster.conflicting_zone(time_format, self.time_zone):
            sentence = (
                f"contains {zone}, but time_zone is {self.time_zone}; "
                "write %z to parse Z or an offset, or correct time_zone"
            )
            yield "time_format", sentence

    def locations(self, folder: Path) -> list[Location]:
        """Return the locations of the files, relative to a folder."""
        return [parse_location(entry, folder) for entry in self.files]

    def time_rule(self) -> raster.TimeRule:
        """Return the rule that dates the files."""
        dated = raster.has_time_groups(re.compile(self.pattern or "").groupindex)
        return raster.TimeRule(
            time=self.time if isinstance(self.time, datetime) else None,
            pattern=self.pattern if dated else None,
            time_format=self.time_format,
            time_zone=self.time_zone,
            from_tag=self.temporal or self.time == "tag",
        )

    def read_options(self, options: raster.ReadOptions) -> raster.ReadOptions:
        """Return the options of a run with the limits, time rule and assigned values of this definition."""
        limits = self.limits.model_dump(exclude_none=True) if self.limits else {}
        budget = replace(options.budget, **limits)
        return replace(options, time_rule=self.time_rule(), assigned=self.assigned, budget=budget)

    def hash(self) -> str:
        """Return a hash of the fields that are written to sources, a dot, and a hash of those that name a source."""
        filled_in = set(PLACEHOLDER.findall(self.name)) - {"stem"}
        naming = self.model_dump_json(include={"name"} | ({"pattern"} if filled_in else set()))
        others = self.model_dump_json(exclude=NOT_IN_SOURCES | {"name"})
        return f"{short_hash(others)}.{short_hash(naming)}"

    def reading_hash(self) -> str:
        """Return a hash of the fields that reading depends on. If it changes, the files are read again."""
        limits = {"limits"} if self.limits else set()
        fields = READING_FIELDS | limits | self.assigned_fields()
        return short_hash(self.model_dump_json(include=fields))


class ImportDefinition(Definition):
    """The definition of an imported STAC catalogue; the catalogue lists its files, not `files`."""

    groups: ClassVar[tuple[str, ...]] = ("file", BY_COLLECTION)

    group: str = BY_COLLECTION
    item_times: bool = False
    """Whether a file that contains no time gets the time of its item."""

    def reading_hash(self) -> str:
        """Return a hash of the fields that reading depends on. If it changes, the files are read again."""
        return short_hash(f"{super().reading_hash()} {self.item_times}")


NOT_IN_SOURCES = {
    "files", "settle_seconds", "schedule", "every", "uuid", "missing", "max_missing_percent", "limits",
    *field_types.ASSIGNED_FIELDS,
}  # fmt: skip
"""Fields that are not written to an existing source."""
READING_FIELDS = {"temporal", "time", "group", "pattern", "time_format", "time_zone"}
"""Fields that determine what is read from a file or to which source it belongs, without limits and assigned values."""


def short_hash(text: str) -> str:
    """Return the first half of a SHA-256 hash in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
