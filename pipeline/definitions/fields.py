"""The kinds of values that the tables of a `sources.toml` hold, and what all of these tables share."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline.definitions.durations import DURATION, parse_interval
from pipeline.errors import CatalogueError
from pipeline.raster import AssignedValues
from pipeline.raster.assigned_values import (
    CRS_PATTERN,
    NODATA_PATTERN,
    normalize_crs,
    normalize_nodata,
)
from pipeline.storage import parse_location

ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
REGISTER_ID = "register"
"""The id under which `rastersources register PATH...` keeps its sources; no definition may bear it."""
NO_TIME = 'is not a time; write for example 2024-01-01T00:00:00Z, or "tag"'
Disagreement = tuple[str, str]
"""A field, and what is wrong with it beside the others."""


def an_id(text: str) -> str:
    """A name that stays readable in file names, addresses and logs."""
    if not re.fullmatch(ID, text) or len(text) > 100:
        raise ValueError('is 1 to 100 letters, digits, ".", "_" and "-", a letter or digit first')
    return text


def a_text(text: str) -> str:
    """What the database can hold."""
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


def a_pattern(text: str) -> str:
    """A regular expression that compiles."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return text


OF_THE_MACHINE = {"localtime", "Factory"}
"""Zones by name, which are others on other machines, or none."""


def a_zone(name: str) -> str:
    """An IANA time zone."""
    if name not in known_zones():
        raise ValueError("is not a time zone; write for example Europe/Amsterdam or UTC")
    return name


@cache
def known_zones() -> frozenset[str]:
    """The names of all zones, which are read off a folder of files."""
    return frozenset(available_timezones()) - OF_THE_MACHINE


def a_time(value: object) -> object:
    """A time with its offset, or "tag"."""
    if isinstance(value, str) and value != "tag":
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(NO_TIME) from error
    if isinstance(value, int | float):
        raise ValueError(NO_TIME)
    if isinstance(value, time) or (isinstance(value, date) and not isinstance(value, datetime)):
        raise ValueError("needs a date and a time of day, for example 2024-01-01T00:00:00Z")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("needs an offset, for example 2024-01-01T00:00:00Z")
    if isinstance(value, datetime):
        try:
            value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("lies outside the years 1 to 9999") from error
    return value


def a_duration(value: object) -> timedelta | None:
    """A duration as the contract reads it; TOML reads an unquoted 00:05:00 as a time of day."""
    if value is None or isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float | time):
        raise ValueError("is not a duration; write for example 00:05:00, PT5M or 300")
    return parse_interval(str(value))


def a_period(value: object) -> timedelta | None:
    """A duration after which something is done again."""
    duration = a_duration(value)
    if value is not None and (duration is None or duration < timedelta(seconds=1)):
        raise ValueError("must be at least one second, for example 00:00:10")
    return duration


def a_cron_line(text: str) -> str:
    """Five fields, as cron knows them, that come true some day."""
    if len(text.split()) != 5:
        raise ValueError(
            'has five fields: minute, hour, day of month, month, day of week; for example "0 6 * * *"'
        )
    if re.search("[LW#]", re.sub("[A-Z]{3}", "", text.upper())):
        raise ValueError("holds L, W or #, which cron does not know; write numbers or names")
    try:
        # days of the month must come true by themselves: Prefect plans both kinds of days
        for line in (text, re.sub(r"\S+\s*$", "*", text)):
            next(CronSim(line, datetime.now(UTC)))
    except CronSimError as error:
        raise ValueError(
            f'is not a cron line: {str(error).lower()}; for example "0 6 * * *"'
        ) from error
    except StopIteration:
        raise ValueError("never comes true") from None
    return text


def a_list(value: object) -> object:
    """One text stands for a list of one."""
    return [value] if isinstance(value, str) else value


def one_or_several(names: list[str]) -> list[str]:
    """At least one organisation."""
    if not names:
        raise ValueError("must name at least one organisation")
    return names


def as_written(names: list[str]) -> str | list[str]:
    """A text for a list of one, as it stood before lists were possible: hashes of definitions stay the same."""
    return names[0] if len(names) == 1 else names


def an_entry(text: str) -> str:
    """The name of a place, wherever it is relative to."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", text)
    if scheme and not text.lower().startswith(("file://", "s3://")):
        raise ValueError(
            f"{scheme[0]} cannot be read; write a path, file:///path or s3://bucket/key"
        )
    try:
        parse_location(text, Path("/"))
    except CatalogueError as error:
        raise ValueError(str(error)) from error
    return text


def a_crs(text: str) -> str:
    """A CRS that can be used."""
    try:
        return normalize_crs(text)
    except CatalogueError as error:
        raise ValueError(str(error)) from error


def a_nodata(value: object) -> str | None:
    """A number, or "nan", as its text."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("is not a number; write for example -9999 or nan")
    try:
        return normalize_nodata(str(value))
    except CatalogueError as error:
        raise ValueError(str(error)) from error


DURATION_TEXT = {"type": "string", "pattern": f"^{DURATION}$"}
DURATION_SCHEMA = {"anyOf": [DURATION_TEXT, {"type": "number", "minimum": 0}]}
PERIOD_SCHEMA = {"anyOf": [DURATION_TEXT, {"type": "number", "minimum": 1}]}
TEXT_SCHEMA = {"type": "string", "minLength": 1}
NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"}
NAMES_SCHEMA = {"anyOf": [NAME_SCHEMA, {"type": "array", "items": NAME_SCHEMA, "minItems": 1}]}
TEXTS_SCHEMA = {"anyOf": [TEXT_SCHEMA, {"type": "array", "items": TEXT_SCHEMA, "minItems": 1}]}
CRON_SCHEMA = {"type": "string", "pattern": r"^\s*\S+(?:\s+\S+){4}\s*$"}

Id = Annotated[
    str,
    AfterValidator(an_id),
    WithJsonSchema(
        {"type": "string", "pattern": ID, "maxLength": 100, "not": {"const": REGISTER_ID}}
    ),
]
Text = Annotated[str, AfterValidator(a_text)]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"\S"), AfterValidator(a_text)]
Names = Annotated[
    list[Name],
    BeforeValidator(a_list),
    AfterValidator(one_or_several),
    PlainSerializer(as_written),
    WithJsonSchema(NAMES_SCHEMA),
]
Username = Annotated[
    str, Field(min_length=1, max_length=150, pattern=r"\S"), AfterValidator(a_text)
]
Code = Annotated[str, Field(max_length=255), AfterValidator(a_text)]
Pattern = Annotated[str, AfterValidator(a_pattern), Field(json_schema_extra={"format": "regex"})]
Zone = Annotated[str, AfterValidator(a_zone)]
Duration = Annotated[timedelta | None, BeforeValidator(a_duration), WithJsonSchema(DURATION_SCHEMA)]
Crs = Annotated[
    str, AfterValidator(a_crs), WithJsonSchema({"type": "string", "pattern": f"^{CRS_PATTERN}$"})
]
Nodata = Annotated[
    str | None,
    BeforeValidator(a_nodata),
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^({NODATA_PATTERN})$"}]}
    ),
]
Settle = Annotated[float, Field(strict=True, ge=0, le=86400)]
Period = Annotated[timedelta, BeforeValidator(a_period), WithJsonSchema(PERIOD_SCHEMA)]
CronLine = Annotated[str, AfterValidator(a_cron_line), WithJsonSchema(CRON_SCHEMA)]
Entries = Annotated[
    list[Annotated[str, Field(min_length=1), AfterValidator(an_entry)]],
    BeforeValidator(a_list),
    Field(min_length=1),
    WithJsonSchema(TEXTS_SCHEMA),
]


class Watched(BaseModel):
    """What a `[[source]]` and a `[[drop]]` share."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: Id
    """Stable name of the definition, unique in the file: what it made is found again by it."""
    settle_seconds: Settle = 0
    """Files that changed less than so many seconds ago wait for a later run; for folders into which files
    are copied slowly."""
    schedule: CronLine | None = None
    """When to run: a cron line of five fields, in the zone `time_zone`; excludes `every`."""
    every: Period | None = None
    """How often to run, such as "00:05:00", "PT5M" or 300; at least one second; excludes `schedule`."""

    @model_validator(mode="after")
    def fields_agree(self, info: ValidationInfo) -> Self:
        """Refuse what cannot work together."""
        if found := tuple(self.disagreements(info.context)):
            raise PydanticCustomError("disagreement", "fields do not agree", {"found": found})
        return self

    def disagreements(self, _context: Any) -> Iterator[Disagreement]:
        """The fields that do not go with the others."""
        if self.schedule is not None and self.every is not None:
            yield "every", "says when to run, as schedule does; leave one of them out"


class Assigning(Watched):
    """What can be said for files that do not say it themselves."""

    crs: Crs | None = None
    """CRS of files that have none, as authority and code, such as "EPSG:28992"."""
    crs_override: Annotated[bool, Field(strict=True)] = False
    """`crs` counts for files that have another CRS, or one that cannot be used, too."""
    nodata: Nodata = None
    """Nodata value of files that have none, such as -9999 or "nan"."""

    def disagreements(self, context: Any) -> Iterator[Disagreement]:
        """The fields that do not go with the others."""
        yield from super().disagreements(context)
        if self.crs_override and self.crs is None:
            yield "crs_override", "works only together with crs; give crs too"

    @property
    def assigned(self) -> AssignedValues:
        """The same, for reading."""
        by = "the command line" if self.id == REGISTER_ID else f'definition "{self.id}"'
        return AssignedValues(self.crs, self.crs_override, self.nodata, by)

    def assigning(self) -> set[str]:
        """The fields of these that say something; the others must not change the hash of older definitions."""
        return {name for name in ASSIGNING if getattr(self, name)}


ASSIGNING = ("crs", "crs_override", "nodata")
