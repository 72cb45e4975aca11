"""From files to records: list, look up what is known, read the rest, write; the one order in which that is done.

The command line and the flows both call this: batch by batch, each batch one transaction.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine

from pipeline.catalogue.owners import find_owner
from pipeline.catalogue.register import Item, Owner, Report, known, register_batch
from pipeline.errors import Rejection
from pipeline.raster import RasterFile, ReadOptions
from pipeline.sources.config import load
from pipeline.sources.definition import Definition, define, places_of
from pipeline.sources.fields import REGISTER
from pipeline.storage import EVERYWHERE, Place, Root, StoredFile, list_files, named_place

Listed = StoredFile | Rejection
Reader = Callable[[Sequence[StoredFile], ReadOptions], Iterable[RasterFile | Rejection]]
"""Reads files in their order, such as the `read` of a pool of processes."""
DEFAULT_OPTIONS = ReadOptions()


@dataclass(frozen=True)
class Work:
    """A definition and the places at which its files are."""

    definition: Definition
    places: Sequence[Place]


@dataclass(frozen=True)
class Conditions:
    """How a run reads and writes, whatever the definition."""

    roots: Sequence[Root] = EVERYWHERE
    options: ReadOptions = DEFAULT_OPTIONS
    """Their time rule is that of the definition, which may have limits of its own too."""
    batch_size: int = 500
    create: bool = False
    """Add organisations and suppliers that are not there."""


@dataclass(frozen=True)
class Ingestion:
    """One definition, ready to be run batch by batch."""

    engine: Engine
    definition: Definition
    owner: Owner
    options: ReadOptions
    reader: Reader

    def read(self, listed: Sequence[Listed]) -> list[Item]:
        """Read one batch of files; those that are registered as they are, are not opened."""
        files = {file.uri: file for file in listed if isinstance(file, StoredFile)}
        unchanged = known(self.engine, self.definition, list(files.values()))
        changed = [file for uri, file in files.items() if uri not in unchanged]
        results = zip(changed, self.reader(changed, self.options), strict=True) if changed else ()
        read: list[Item] = [
            result if isinstance(result, Rejection) else (file, result) for file, result in results
        ]
        refused = [file for file in listed if isinstance(file, Rejection)]
        return [*unchanged.values(), *read, *refused]

    def write(self, items: Sequence[Item]) -> Report:
        """Bring what was read into the catalogue, in one transaction."""
        return register_batch(self.engine, self.definition, self.owner, items)


def work_of_paths(paths: Sequence[str], fields: dict[str, object]) -> list[Work]:
    """One source per file; `fields` are those of a definition. Raises CatalogueError that names a wrong one."""
    given = {name: value for name, value in fields.items() if value is not None}
    definition = define({**given, "id": REGISTER, "files": ["."]}, "arguments")
    return [Work(definition, [named_place(path) for path in paths])]


def work_of_config(path: Path) -> list[Work]:
    """The definitions of a sources.toml and their files; raises CatalogueError that says what is wrong in it."""
    folder = path.absolute().parent
    return [Work(definition, places_of(definition, folder)) for definition in load(path).source]


def ingestions(
    engine: Engine, works: Sequence[Work], conditions: Conditions, reader: Reader
) -> list[Ingestion]:
    """The work, ready to run; raises CatalogueError where an organisation or supplier is missing."""
    return [
        Ingestion(
            engine,
            work.definition,
            find_owner(engine, work.definition, create=conditions.create),
            work.definition.options(conditions.options),
            reader,
        )
        for work in works
    ]


def batches(work: Work, conditions: Conditions) -> Iterator[Sequence[Listed]]:
    """The files of some work, listed while they are taken, in batches."""
    files = list_files(work.places, conditions.roots)
    while batch := list(islice(files, conditions.batch_size)):
        yield batch


def count_files(works: Sequence[Work], conditions: Conditions) -> int:
    """How many files the work has; one more listing, for a progress bar."""
    return sum(1 for work in works for _ in list_files(work.places, conditions.roots))


def register_all(
    engine: Engine,
    works: Sequence[Work],
    conditions: Conditions,
    reader: Reader,
    progress: Callable[[Report], None],
    write: Callable[[Ingestion, Sequence[Item]], Report] = Ingestion.write,
) -> Report:
    """Run all the work; `progress` gets the report of each batch as it is written, `write` may wrap the writing.

    While one batch is written, in a thread, the next one is read.
    """
    total = Report()

    def conclude(writing: Future[Report]) -> None:
        report = writing.result()
        total.add(report)
        progress(report)

    with ThreadPoolExecutor(1, "write") as thread:
        writing: Future[Report] | None = None
        for work, ingestion in zip(
            works, ingestions(engine, works, conditions, reader), strict=True
        ):
            for batch in batches(work, conditions):
                items = ingestion.read(batch)
                if writing:
                    conclude(writing)
                writing = thread.submit(copy_context().run, write, ingestion, items)
        if writing:
            conclude(writing)
    return total
