"""The types of the values in a `sources.toml`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from pipeline.definitions.durations import DURATION, parse_interval
from pipeline.errors import CatalogueError
from pipeline.raster.stated_values import (
    CRS_PATTERN,
    NODATA_PATTERN,
    normalize_crs,
    normalize_nodata,
)
from pipeline.storage import parse_location

ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
REGISTER_ID = "register"
"""The definition id of sources that `rastersources register PATH...` created; no definition may have it."""
MACHINE_ZONES = {"localtime", "Factory"}
"""Names of time zones whose meaning differs between machines."""
ASSIGNED_FIELDS = ("crs", "crs_override", "nodata")
INVALID_TIME = 'is not a time; write for example 2024-01-01T00:00:00Z, or "tag"'
INVALID_DURATION = "is not a duration; write for example 00:05:00, PT5M or 300"
INVALID_NODATA = "is not a number; write for example -9999 or nan"
Conflict = tuple[str, str]
"""A field, and a message about its conflict with another field."""


@contextmanager
def value_errors() -> Iterator[None]:
    """Turn CatalogueError into ValueError, which pydantic expects."""
    try:
        yield
    except CatalogueError as error:
        raise ValueError(str(error)) from error


def check_id(text: str) -> str:
    """Require a name that is valid in file names, URLs and logs. Raises ValueError."""
    if not re.fullmatch(ID, text) or len(text) > 100:
        raise ValueError(
            'must be 1 to 100 letters, digits, ".", "_" and "-", with a letter or digit first'
        )
    return text


def check_text(text: str) -> str:
    """Require a text that the database can store."""
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    return text


def check_pattern(text: str) -> str:
    """Require a valid regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return text


def check_zone(name: str) -> str:
    """Require an IANA time zone."""
    if name not in zone_names():
        raise ValueError("is not a time zone; write for example Europe/Amsterdam or UTC")
    return name


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all time zones; cached, because they are read from disk."""
    return frozenset(available_timezones()) - MACHINE_ZONES


def parse_time_field(value: object) -> object:
    """Parse a time with an offset, or "tag"."""
    if isinstance(value, str) and value != "tag":
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(INVALID_TIME) from error
    if isinstance(value, int | float):
        raise ValueError(INVALID_TIME)
    if isinstance(value, time) or (isinstance(value, date) and not isinstance(value, datetime)):
        raise ValueError("needs a date and a time of day, for example 2024-01-01T00:00:00Z")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("needs an offset, for example 2024-01-01T00:00:00Z")
        try:
            value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("must lie in the years 1 to 9999") from error
    return value


def parse_duration(value: object) -> timedelta | None:
    """Parse a duration; TOML parses an unquoted 00:05:00 as a time of day."""
    if value is None or isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float | time):
        raise ValueError(INVALID_DURATION)
    return parse_interval(str(value))


def parse_period(value: object) -> timedelta | None:
    """Parse a duration of at least one second."""
    duration = parse_duration(value)
    if value is not None and (duration is None or duration < timedelta(seconds=1)):
        raise ValueError("must be at least one second, for example 00:00:10")
    return duration


def check_cron_line(text: str) -> str:
    """Require a cron line with five fields that matches at least one time."""
    if len(text.split()) != 5:
        raise ValueError(
            'must have five fields: minute, hour, day of month, month, day of week; for example "0 6 * * *"'
        )
    if re.search("[LW#]", re.sub("[A-Z]{3}", "", text.upper())):
        raise ValueError("contains L, W or #, which cron does not support; write numbers or names")
    try:
        # The line must match even without the day of the week, because Prefect requires both days.
        for line in (text, re.sub(r"\S+\s*$", "*", text)):
            next(CronSim(line, datetime.now(UTC)))
    except CronSimError as error:
        raise ValueError(
            f'is not a cron line: {str(error).lower()}; for example "0 6 * * *"'
        ) from error
    except StopIteration:
        raise ValueError("does not match any time; correct the day and the month") from None
    return text


def to_list(value: object) -> object:
    """Convert a text to a list with one entry."""
    return [value] if isinstance(value, str) else value


def check_names(names: list[str]) -> list[str]:
    """Require at least one organisation."""
    if not names:
        raise ValueError("must name at least one organisation")
    return names


def dump_names(names: list[str]) -> str | list[str]:
    """Write a list with one entry as a text, so that the hashes of older definitions stay the same."""
    return names[0] if len(names) == 1 else names


def check_entry(text: str) -> str:
    """Require a path, a glob or a URL."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", text)
    if scheme and not text.lower().startswith(("file://", "s3://")):
        raise ValueError(
            f"{scheme[0]} cannot be read; write a path, file:///path or s3://bucket/key"
        )
    with value_errors():
        parse_location(text, Path("/"))
    return text


def check_crs(text: str) -> str:
    """Require a CRS that PROJ can use."""
    with value_errors():
        return normalize_crs(text)


def parse_nodata(value: object) -> str | None:
    """Convert a number or "nan" to text."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(INVALID_NODATA)
    with value_errors():
        return normalize_nodata(str(value))


def _one_or_list(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]}


DURATION_TEXT = {"type": "string", "pattern": f"^{DURATION}$"}
DURATION_SCHEMA = {"anyOf": [DURATION_TEXT, {"type": "number", "minimum": 0}]}
PERIOD_SCHEMA = {"anyOf": [DURATION_TEXT, {"type": "number", "minimum": 1}]}
NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"}
CRON_SCHEMA = {"type": "string", "pattern": r"^\s*\S+(?:\s+\S+){4}\s*$"}
NODATA_SCHEMA = {
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^({NODATA_PATTERN})$"}]
}

Id = Annotated[
    str,
    AfterValidator(check_id),
    WithJsonSchema({"type": "string", "pattern": ID, "maxLength": 100, "not": {"const": REGISTER_ID}}),
]  # fmt: skip
Text = Annotated[str, AfterValidator(check_text)]
Name = Annotated[
    str, Field(min_length=1, max_length=255, pattern=r"\S"), AfterValidator(check_text)
]
Names = Annotated[
    list[Name],
    BeforeValidator(to_list),
    AfterValidator(check_names),
    PlainSerializer(dump_names),
    WithJsonSchema(_one_or_list(NAME_SCHEMA)),
]
Username = Annotated[
    str, Field(min_length=1, max_length=150, pattern=r"\S"), AfterValidator(check_text)
]
Code = Annotated[str, Field(max_length=255), AfterValidator(check_text)]
Pattern = Annotated[
    str, AfterValidator(check_pattern), Field(json_schema_extra={"format": "regex"})
]
ZoneName = Annotated[str, AfterValidator(check_zone)]
Duration = Annotated[
    timedelta | None, BeforeValidator(parse_duration), WithJsonSchema(DURATION_SCHEMA)
]
Crs = Annotated[
    str,
    AfterValidator(check_crs),
    WithJsonSchema({"type": "string", "pattern": f"^{CRS_PATTERN}$"}),
]
Nodata = Annotated[str | None, BeforeValidator(parse_nodata), WithJsonSchema(NODATA_SCHEMA)]
SettleSeconds = Annotated[float, Field(strict=True, ge=0, le=86400)]
Every = Annotated[timedelta, BeforeValidator(parse_period), WithJsonSchema(PERIOD_SCHEMA)]
Schedule = Annotated[str, AfterValidator(check_cron_line), WithJsonSchema(CRON_SCHEMA)]
Entries = Annotated[
    list[Annotated[str, Field(min_length=1), AfterValidator(check_entry)]],
    BeforeValidator(to_list),
    Field(min_length=1),
    WithJsonSchema(_one_or_list({"type": "string", "minLength": 1})),
]
