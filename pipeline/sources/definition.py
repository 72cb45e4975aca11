"""Source definitions: how files map to raster sources, from a `sources.toml` or from the arguments of `register`."""

import hashlib
import re
import tomllib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from pipeline.errors import CatalogueError
from pipeline.raster import TimeRule
from pipeline.sources.intervals import parse_interval

REGISTER = "register"
"""The id under which `rastersources register PATH...` keeps its sources; no definition may bear it."""
PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""What is filled in into the name of a source."""
TIME_GROUPS = {"time", "year"}
"""A pattern with one of these groups dates files; another one only names and groups them."""


def a_pattern(text: str) -> str:
    """A regular expression that compiles."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return text


def a_zone(name: str) -> str:
    """An IANA time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("is no time zone; write for example Europe/Amsterdam or UTC") from error
    return name


def an_interval(value: object) -> timedelta | None:
    """A duration as the contract reads it."""
    return parse_interval(value) if isinstance(value, str | int | float) else None


def a_list(value: object) -> object:
    """One glob stands for a list of one."""
    return [value] if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"\S")]


class Definition(BaseModel):
    """One `[[source]]` of a `sources.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Stable name of the definition: a source is found again by it and by its group of files."""
    files: Annotated[list[str], BeforeValidator(a_list), Field(min_length=1)]
    """Globs or folders, relative to the sources.toml."""
    name: Name = "{stem}"
    """Name of the source; `{stem}` and the named groups of `pattern` are filled in."""
    organisation: Name
    access_modifier: Literal["Public", "Common", "Private", "Hidden"] = "Private"
    supplier: Name | None = None
    supplier_code: str | None = None
    description: str | None = None
    temporal: bool = False
    time: datetime | Literal["tag"] | None = None
    """One time for all files, or "tag": TIFFTAG_DATETIME dates them."""
    group: str = "file"
    """`file`: a source per file; `all`: one source; else a named group of `pattern`: a source per value."""
    pattern: Annotated[str, AfterValidator(a_pattern)] | None = None
    """Regular expression searched in the path; its group `time` is the time of the file."""
    time_format: str | None = None
    """strptime format of the group `time`."""
    time_zone: Annotated[str, AfterValidator(a_zone)] = "UTC"
    """Zone of times without an offset."""
    interval: Annotated[timedelta | None, BeforeValidator(an_interval)] = None
    """Declared time between steps."""

    @model_validator(mode="after")
    def fields_agree(self) -> Self:
        """Refuse what cannot work together."""
        groups = re.compile(self.pattern or "").groupindex
        if self.group not in ("file", "all", *groups):
            raise ValueError(
                f'group = "{self.group}" is neither "file" nor "all" nor a named group of pattern'
            )
        if isinstance(self.time, datetime) and self.time.tzinfo is None:
            raise ValueError("time needs an offset, for example 2024-01-01T00:00:00Z")
        unknown = set(PLACEHOLDER.findall(self.name)) - {"stem", *groups}
        if unknown:
            raise ValueError(
                f"name holds {{{min(unknown)}}}, which is neither {{stem}} nor a named group of pattern"
            )
        return self

    def time_rule(self) -> TimeRule:
        """How files of this definition are dated."""
        return TimeRule(
            time=self.time if isinstance(self.time, datetime) else None,
            pattern=self.pattern
            if TIME_GROUPS & set(re.compile(self.pattern or "").groupindex)
            else None,
            time_format=self.time_format,
            time_zone=self.time_zone,
            from_tag=self.temporal or self.time == "tag",
        )

    def hash(self) -> str:
        """Changes when the definition does; where its files are does not count."""
        return digest(self.model_dump_json(exclude={"files"}))

    def reading_hash(self) -> str:
        """Changes when its files must be read again though they are the same."""
        return digest(self.model_dump_json(include=READING))


READING = {"temporal", "time", "group", "pattern", "time_format", "time_zone"}
"""The fields that what is read from a file depends on, or which source it goes to."""


def digest(text: str) -> str:
    """A short hash."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load(path: Path) -> list[Definition]:
    """The definitions of a sources.toml; raises CatalogueError that says what is wrong where."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CatalogueError(f"{path} is not there; name a sources.toml with --config") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"{path} is no TOML: {error}") from error
    tables = document.get("source")
    if not isinstance(tables, list) or not tables or set(document) != {"source"}:
        raise CatalogueError(f"{path} must hold [[source]] tables and nothing else")
    definitions = [
        define(table, f"{path}: [[source]] number {n}") for n, table in enumerate(tables, 1)
    ]
    for definition in definitions:
        if definition.id == REGISTER or sum(other.id == definition.id for other in definitions) > 1:
            raise CatalogueError(
                f'{path}: id = "{definition.id}" is taken; each [[source]] needs an id of its own'
            )
    return definitions


def define(fields: object, where: str) -> Definition:
    """A definition from its fields; raises CatalogueError that names the wrong one."""
    try:
        return Definition.model_validate(fields)
    except ValidationError as error:
        wrong = error.errors()[0]
        field = ".".join(str(part) for part in wrong["loc"])
        sentence = wrong["msg"].removeprefix("Value error, ")
        raise CatalogueError(f"{where}: {f'{field}: ' if field else ''}{sentence}") from error


def paths_of(definition: Definition, folder: Path) -> Iterator[Path]:
    """The paths that a definition names, its globs filled in, sorted and each once; relative to a folder."""
    seen = set()
    for entry in definition.files:
        found = expand(entry, folder)
        for path in found:
            if path not in seen:
                seen.add(path)
                yield path


def expand(entry: str, folder: Path) -> list[Path]:
    """The paths of one glob; a name without wildcards stands for itself, also where nothing is."""
    whole = folder / entry
    if not any(sign in entry for sign in "*?["):
        return [whole]
    pattern = whole.relative_to(whole.anchor)
    return sorted(Path(whole.anchor).glob(str(pattern)))
