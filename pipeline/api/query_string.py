"""Parses the query string within limits, its parameters `format` and `dry-run`, and numbers."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pipeline.api.problems import Problem, invalid
from pipeline.catalogue.lookups import BadValue, optional_pattern

T = TypeVar("T")
FORMATS = ("json", "api")
Parameter = tuple[str, Mapping[str, Any], str]
"""Name, JSON Schema and meaning of a query parameter."""
FORMAT: Parameter = (
    "format",
    {"type": "string", "pattern": optional_pattern("|".join(FORMATS))},
    "json, or api for a page; hyperlinks in the answer keep it.",
)
DRY_RUN: Parameter = (
    "dry-run",
    {"type": "string"},
    "Any value except false: validate the write and return its answer, but store nothing.",
)
MAX_BYTES = 60_000
"""Maximum length of a query string; a longer one gets 414. The HTTP parser accepts 65,535 bytes."""
MAX_PARAMETERS = 1000
NUMBER = re.compile(r"[0-9]{1,1000}")


def parse_query(query: bytes) -> dict[str, str]:
    """Return the last value of each parameter, without surrounding blanks; raise Problem 400 or 414 beyond a limit."""
    if len(query) > MAX_BYTES:
        raise Problem(414, f"The query string may be at most {MAX_BYTES} bytes long.")
    try:
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:
        raise Problem(
            400, f"The query string may have at most {MAX_PARAMETERS} parameters."
        ) from error
    return {name: value.strip() for name, value in pairs}  # Django's forms strip them too


def parse_format(query: Mapping[str, str], formats: Sequence[str] = FORMATS) -> str | None:
    """Return the requested format, or None; raise Problem 400 for an unknown one."""
    format = query.get("format")
    if format and format not in formats:
        raise invalid({"format": [f"Must be one of {', '.join(formats)}."]})
    return format or None


def is_dry_run_name(name: str) -> bool:
    """Return whether a parameter is `dry-run` in any spelling: a misspelled dry run must not write."""
    return re.sub("[^a-z]", "", name.lower()) == "dryrun"


def is_dry_run(query: Mapping[str, str]) -> bool:
    """Return whether the request is a dry run: `?dry-run` with any value except false."""
    return any(is_dry_run_name(name) and value.lower() != "false" for name, value in query.items())


def read_parameter(
    query: Mapping[str, str], name: str, read: Callable[[str], T], errors: dict[str, list[str]]
) -> T | None:
    """Return what `read` makes of a parameter, or None without it; add the sentence of a BadValue to `errors`."""
    try:
        return read(query[name]) if query.get(name) else None
    except BadValue as error:
        errors[name] = [str(error)]
        return None


def parse_number(
    query: Mapping[str, str], name: str, errors: dict[str, list[str]], *, least: int = 0
) -> int | None:
    """Return a number of the query string, or None; add a sentence to `errors` for any other text."""
    text = query.get(name)
    if not text:
        return None
    if NUMBER.fullmatch(text) and int(text) >= least:
        return int(text)
    errors[name] = [f"Must be a number, {least} or higher."]
    return None


def number_schema(least: int) -> dict[str, Any]:
    """Return the JSON Schema of such a number; an empty text means the default, as in all parameters."""
    digits = "[0-9]*[1-9][0-9]*" if least else "[0-9]+"
    text = {"type": "string", "pattern": optional_pattern(digits)}
    return {"anyOf": [{"type": "integer", "minimum": least}, text]}
