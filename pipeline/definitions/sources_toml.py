"""Reads a `sources.toml`; errors name each wrong field with its line."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.definitions.definition import CommonFields, Definition
from pipeline.definitions.drop_folder import DropFolder
from pipeline.definitions.field_types import REGISTER_ID
from pipeline.definitions.toml_lines import KeyPath, line_of, lines_of
from pipeline.definitions.validation_errors import Fault, faults_of
from pipeline.errors import CatalogueError

TABLES: dict[str, type[CommonFields]] = {"source": Definition, "drop": DropFolder}


class Config(BaseModel):
    """A `sources.toml`: the files of raster sources, and drop folders."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: tuple[Definition, ...] = ()
    """Definitions of raster sources by their files."""
    drop: tuple[DropFolder, ...] = ()
    """Folders into which suppliers put files for existing sources."""

    @property
    def tables(self) -> list[Definition | DropFolder]:
        """All tables."""
        return [*self.source, *self.drop]


@dataclass(frozen=True)
class Table:
    """One `[[source]]` or `[[drop]]` of the file."""

    kind: str
    number: int
    """Position among the tables of its kind, from 0."""
    fields: dict[str, object]

    def __str__(self) -> str:
        name = self.fields.get("id")
        which = f'"{name}"' if isinstance(name, str) and name else f"number {self.number + 1}"
        return f"[[{self.kind}]] {which}"


def load_config(path: Path, *, empty: bool = False) -> Config:
    """Return the definitions of a sources.toml. `empty` allows a file without definitions.

    Raises CatalogueError with one line for each wrong field.
    """
    text = _read_text(path)
    document = _parse_toml(text, path)
    lines = lines_of(text)
    tables = _tables(document, lines, path)
    if not tables and not empty:
        raise CatalogueError(
            f"{path} has no [[source]]; see docs/sources.md for what to write, "
            "or remove the sources of its former definitions with `sync --prune`"
        )
    models: dict[str, list[CommonFields]] = {kind: [] for kind in TABLES}
    faults = [*_wrong_ids(tables)]
    for table in tables:
        model = TABLES[table.kind]
        try:
            valid = model.model_validate(table.fields, context=path.absolute().parent)
            models[table.kind].append(valid)
        except ValidationError as error:
            faults += [(table, fault) for fault in faults_of(error, model)]
    if faults:
        raise CatalogueError("\n".join(_sentences(path, lines, faults)))
    return Config.model_validate(models)


def _read_text(path: Path) -> str:
    """Return the text of the file without a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 from byte {error.start + 1} on; save it as UTF-8"
        raise CatalogueError(f"{path} {reason}") from error
    except OSError as error:
        reason = {
            FileNotFoundError: "does not exist; give a sources.toml with --config",
            IsADirectoryError: "is a folder; give the sources.toml in it",
        }.get(type(error), f"cannot be read: {error.strerror}")
        raise CatalogueError(f"{path} {reason}") from error


def _parse_toml(text: str, path: Path) -> dict[str, Any]:
    """Return the TOML document. Raises CatalogueError with the line of the error."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.fullmatch(r"(.*?) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
        line, column = (match[2], match[3]) if match else (text.count("\n") + 1, 1)
        reason = match[1] if match else str(error).removesuffix(" (at end of document)")
        raise CatalogueError(
            f"{path}, line {line}: not valid TOML at column {column}: {reason}"
        ) from error
    except RecursionError as error:
        raise CatalogueError(f"{path} is nested too deeply for a sources.toml") from error


def _tables(document: dict[str, Any], lines: dict[KeyPath, int], path: Path) -> list[Table]:
    """Return the tables of the file. Raises CatalogueError if it has anything else."""
    for name, value in document.items():
        where = f"{path}, line {line_of((name, 0) if (name, 0) in lines else (name,), lines)}"
        if name not in TABLES:
            near = get_close_matches(name.lower(), TABLES, 1)
            hint = f"; did you mean [[{near[0]}]]?" if near else ""
            raise CatalogueError(f'{where}: "{name}" is not [[source]] or [[drop]]{hint}')
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            raise CatalogueError(f"{where}: write [[{name}]], with two brackets, above each {name}")
    return [
        Table(kind, number, fields)
        for kind in TABLES
        for number, fields in enumerate(document.get(kind, []))
    ]


def _wrong_ids(tables: list[Table]) -> Iterator[tuple[Table, Fault]]:
    """Yield the ids that are reserved or used twice."""
    seen = set()
    for table in tables:
        name = table.fields.get("id")
        if not isinstance(name, str):
            continue
        if name == REGISTER_ID:
            yield table, Fault(("id",), f'"{name}" is reserved for the command; choose another')
        elif name in seen:
            yield table, Fault(("id",), "is used above; each table needs a unique id")
        seen.add(name)


def _sentences(
    path: Path, lines: dict[KeyPath, int], faults: list[tuple[Table, Fault]]
) -> Iterator[str]:
    """Yield a message for each fault, in the order of the lines."""
    placed = [
        (line_of((table.kind, table.number, *fault.path), lines), table, fault)
        for table, fault in faults
    ]
    for line, table, fault in sorted(placed, key=lambda item: item[0]):
        yield f"{path}, line {line}: {table}: {fault}"
