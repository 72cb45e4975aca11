"""Reads a `sources.toml`; every wrong field is named with its line."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.definitions.definition import Definition
from pipeline.definitions.drop_folder import DropFolder
from pipeline.definitions.fields import REGISTER_ID, Watched
from pipeline.definitions.toml_lines import KeyPath, line_of, lines_of
from pipeline.definitions.validation_errors import Fault, faults_of
from pipeline.errors import CatalogueError

TABLES: dict[str, type[Watched]] = {"source": Definition, "drop": DropFolder}


class Config(BaseModel):
    """What a `sources.toml` says: which files make which raster sources."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: tuple[Definition, ...] = ()
    """Which files make which raster source."""
    drop: tuple[DropFolder, ...] = ()
    """Folders into which suppliers put files for sources that exist."""

    @property
    def scheduled(self) -> list[Definition | DropFolder]:
        """Those that say when they are to run."""
        tables: list[Definition | DropFolder] = [*self.source, *self.drop]
        return [table for table in tables if table.schedule or table.every]


@dataclass(frozen=True)
class Table:
    """One `[[source]]` or `[[drop]]` as it stands in the file."""

    kind: str
    number: int
    """Among those of its kind, from 0."""
    fields: dict[str, object]

    def __str__(self) -> str:
        name = self.fields.get("id")
        which = f'"{name}"' if isinstance(name, str) and name else f"number {self.number + 1}"
        return f"[[{self.kind}]] {which}"


def load_config(path: Path, *, empty: bool = False) -> Config:
    """The definitions of a sources.toml; raises CatalogueError, each line of which says what is wrong where.

    `empty` says that there may be none.
    """
    text = text_of(path)
    document = document_of(text, path)
    lines = lines_of(text)
    tables = tables_of(document, lines, path)
    if not tables and not empty:
        raise CatalogueError(
            f"{path} holds no [[source]]; docs/sources.md shows what to write, "
            "`sync --prune` removes what it held before"
        )
    found: dict[str, list[Watched]] = {kind: [] for kind in TABLES}
    faults = [*taken_ids(tables)]
    for table in tables:
        try:
            found[table.kind].append(
                TABLES[table.kind].model_validate(table.fields, context=path.absolute().parent)
            )
        except ValidationError as error:
            faults += [(table, fault) for fault in faults_of(error, TABLES[table.kind])]
    if faults:
        raise CatalogueError("\n".join(sentences(path, lines, faults)))
    return Config.model_validate(found)


def text_of(path: Path) -> str:
    """The text of the file, also one that an editor began with a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise CatalogueError(f"{path} is not there; name a sources.toml with --config") from error
    except IsADirectoryError as error:
        raise CatalogueError(f"{path} is a folder; name the sources.toml in it") from error
    except UnicodeDecodeError as error:
        sentence = f"{path} is no UTF-8 from byte {error.start + 1} on; save it as UTF-8"
        raise CatalogueError(sentence) from error
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror}") from error


def document_of(text: str, path: Path) -> dict[str, Any]:
    """The TOML document; raises CatalogueError that names the line where it ends to be one."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*?) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
        line, column = (found[2], found[3]) if found else (text.count("\n") + 1, 1)
        what = found[1] if found else str(error).removesuffix(" (at end of document)")
        sentence = f"{path}, line {line}: is no TOML at column {column}: {what}"
        raise CatalogueError(sentence) from error
    except RecursionError as error:
        raise CatalogueError(f"{path} is nested too deeply to be a sources.toml") from error


def tables_of(document: dict[str, Any], lines: dict[KeyPath, int], path: Path) -> list[Table]:
    """The tables of the file; raises CatalogueError when it holds something else."""
    for name, value in document.items():
        where = f"{path}, line {line_of((name, 0) if (name, 0) in lines else (name,), lines)}"
        if name not in TABLES:
            near = get_close_matches(name.lower(), TABLES, 1)
            hint = f"; did you mean [[{near[0]}]]?" if near else ""
            raise CatalogueError(f'{where}: "{name}" is neither [[source]] nor [[drop]]{hint}')
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            raise CatalogueError(f"{where}: write [[{name}]], with two brackets, above each {name}")
    return [
        Table(kind, number, fields)
        for kind in TABLES
        for number, fields in enumerate(document.get(kind, []))
    ]


def taken_ids(tables: list[Table]) -> Iterator[tuple[Table, Fault]]:
    """Ids that cannot be used, over all tables."""
    seen = set()
    for table in tables:
        name = table.fields.get("id")
        if not isinstance(name, str):
            continue
        if name == REGISTER_ID:
            yield table, Fault(("id",), f'"{name}" is taken by the command; choose another')
        elif name in seen:
            yield table, Fault(("id",), "is taken above; each table needs an id of its own")
        seen.add(name)


def sentences(
    path: Path, lines: dict[KeyPath, int], faults: list[tuple[Table, Fault]]
) -> Iterator[str]:
    """What is wrong in the order of the lines, each in one sentence."""
    placed = [
        (line_of((table.kind, table.number, *fault.place), lines), table, fault)
        for table, fault in faults
    ]
    for line, table, fault in sorted(placed, key=lambda one: one[0]):
        yield f"{path}, line {line}: {table}: {fault}"
