"""From files to records: list, compare with what is known, read the rest, write; the one order in which that is done.

The command line and the flows both call this: batch by batch, each batch one transaction.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Protocol, Self

from sqlalchemy import Engine

from pipeline.catalogue.comparison import TO_READ, ChangedFile, Comparison, open_comparison
from pipeline.catalogue.definitions import claim_source
from pipeline.catalogue.owners import find_owner
from pipeline.catalogue.redefinition import update_outdated_sources
from pipeline.catalogue.register import (
    BatchItem,
    OutdatedItem,
    Owner,
    ReadItem,
    RejectedItem,
    register_batch,
)
from pipeline.catalogue.run_report import RunReport
from pipeline.catalogue.sync_runs import record_run
from pipeline.catalogue.tombstones import find_deleted_groups
from pipeline.definitions.definition import Definition, locations_of, make_definition
from pipeline.definitions.fields import REGISTER_ID
from pipeline.definitions.grouping import are_different_steps, group_of
from pipeline.definitions.sources_toml import load_config
from pipeline.errors import RasterError, RastersourcesError, Rejection
from pipeline.raster import FileOptions, RasterFile, ReadOptions
from pipeline.storage import EVERYWHERE, Location, Root, StoredFile, list_files, literal_location

Reader = Callable[[Sequence[StoredFile], FileOptions], Iterable[RasterFile | Rejection]]
"""Reads files in their order, such as the `read` of a pool of processes."""
DEFAULT_OPTIONS = ReadOptions()


class ProgressReporter(Protocol):
    """Whoever shows how far a run is."""

    def found(self, files: int) -> None:
        """So many more files were listed."""

    def tell(self, report: RunReport) -> None:
        """So much more was done."""


@dataclass(frozen=True)
class DefinitionFiles:
    """A definition and the places at which its files are."""

    definition: Definition
    places: Sequence[Location]

    @property
    def id(self) -> str:
        """The name of the definition."""
        return self.definition.id


@dataclass(frozen=True)
class RunOptions:
    """How a run reads and writes, whatever the definition."""

    roots: Sequence[Root] = EVERYWHERE
    options: ReadOptions = DEFAULT_OPTIONS
    """As a definition changes them."""
    batch_size: int = 500
    create: bool = False
    """Add organisations and suppliers that are not there."""


@dataclass(frozen=True)
class DefinitionRun:
    """One definition, ready to be run batch by batch."""

    engine: Engine
    definition: Definition
    owner: Owner
    options: ReadOptions
    reader: Reader

    def read(self, found: Sequence[ChangedFile]) -> list[BatchItem]:
        """Read those of the files that have to be read."""
        reading = [one for one in found if one.verdict in TO_READ]
        files = [one.file for one in reading]
        results = self.reader(files, self.options) if files else ()
        read = [
            RejectedItem(result, one.file)
            if isinstance(result, Rejection)
            else ReadItem(one.file, result, one.moved_from)
            for one, result in zip(reading, results, strict=True)
        ]
        return [*read, *(OutdatedItem(one.file) for one in found if one.verdict == "outdated")]

    def write(self, items: Sequence[BatchItem], evicted: Sequence[str] = ()) -> RunReport:
        """Bring what was read into the catalogue, in one transaction; see `register_batch`."""
        return register_batch(self.engine, self.definition, self.owner, items, evicted)


Write = Callable[..., RunReport]
"""`Ingestion.write`, or what wraps it."""


@dataclass(frozen=True)
class RunContext:
    """What the works of one run share."""

    engine: Engine
    conditions: RunOptions
    reader: Reader
    watcher: ProgressReporter
    write: Write = DefinitionRun.write

    def ingestion(self, definition: Definition) -> DefinitionRun:
        """Ready to be run; raises CatalogueError where an organisation or supplier is missing."""
        owner = find_owner(self.engine, definition, create=self.conditions.create)
        options = definition.options(self.conditions.options)
        return DefinitionRun(self.engine, definition, owner, options, self.reader)


@dataclass
class RunOutcome:
    """How the run of one definition ended."""

    definition: str
    report: RunReport = field(default_factory=RunReport)
    failure: RastersourcesError | None = None
    """Why it ended before it was through."""
    seconds: float = 0.0


def files_from_arguments(places: Sequence[str], fields: dict[str, object]) -> list[DefinitionFiles]:
    """One source per file; `fields` are those of a definition. Raises CatalogueError that names a wrong one."""
    given = {name: value for name, value in fields.items() if value is not None}
    definition = make_definition({**given, "id": REGISTER_ID, "files": ["."]}, "arguments")
    return [DefinitionFiles(definition, [literal_location(place) for place in places])]


def files_from_config(path: Path, *, empty: bool = False) -> list[DefinitionFiles]:
    """The definitions of a sources.toml and their files; raises CatalogueError that says what is wrong in it."""
    folder, config = path.absolute().parent, load_config(path, empty=empty)
    return [
        DefinitionFiles(definition, locations_of(definition, folder))
        for definition in config.source
    ]


def register_all(run: RunContext, works: Sequence[DefinitionFiles]) -> list[RunOutcome]:
    """Add and update what is listed, and leave alone what is not."""
    return [run_definition(work.id, partial(register, run, work)) for work in works]


def run_definition(name: str, act: Callable[[RunReport], None]) -> RunOutcome:
    """Run one definition: what goes wrong with it does not keep others from being run."""
    outcome, began = RunOutcome(name), monotonic()
    try:
        act(outcome.report)
    except RastersourcesError as error:
        outcome.failure = error
    outcome.seconds = monotonic() - began
    return outcome


def register(run: RunContext, work: DefinitionFiles, report: RunReport) -> None:
    """Add and update the files of one definition."""
    with open_run(run, work, report, complete=False) as (ingestion, listing):
        claim_source(run.engine, work.definition)
        read_and_write(run, ingestion, listing, report)
        listing.update_rejections(ingestion.owner.organisation_id, complete=False)


@contextmanager
def open_run(
    run: RunContext, work: DefinitionFiles, report: RunReport, *, complete: bool
) -> Iterator[tuple[DefinitionRun, Comparison]]:
    """A definition, ready to be run, and its files, compared; meanwhile a row of sync_runs keeps the report.

    Raises RunInProgress where another run of the definition is at work, CatalogueError where an organisation or
    supplier is missing.
    """
    alone = work.definition.id != REGISTER_ID
    with (
        record_run(run.engine, work.definition.id, report) as row,
        open_comparison(run.engine, work.definition, alone=alone) as listing,
    ):
        if alone or listing.join():
            row.mark_killed_runs()
        ingestion = run.ingestion(work.definition)
        fill(listing, work, run.conditions, run.watcher)
        compare(listing, work.definition, complete=complete)
        yield ingestion, listing


def fill(
    listing: Comparison, work: DefinitionFiles, conditions: RunOptions, watcher: ProgressReporter
) -> None:
    """List the files of a definition."""
    listing.fill(count_listed(list_files(work.places, conditions.roots), watcher))


def compare(listing: Comparison, definition: Definition, *, complete: bool) -> None:
    """Compare what was listed with what is known."""
    apart = partial(are_different_steps, definition)
    listing.compare(definition.settle_seconds, complete=complete, apart=apart)


def count_listed(
    files: Iterable[StoredFile | Rejection], watcher: ProgressReporter
) -> Iterator[StoredFile | Rejection]:
    """The files, of which a watcher hears now and then."""
    count = 0
    for count, file in enumerate(files, 1):
        if count % 1000 == 0:
            watcher.found(1000)
        yield file
    watcher.found(count % 1000)


def read_and_write(
    run: RunContext, ingestion: DefinitionRun, listing: Comparison, report: RunReport
) -> None:
    """Read and write what is new or changed, batch by batch; what was done is in the report, also when it fails."""
    known = RunReport(unchanged=listing.counts()["unchanged"])
    report.add(known)
    run.watcher.tell(known)
    buried = find_deleted_groups(run.engine, ingestion.definition.id)
    with BatchWriter(run, ingestion, report) as writer:
        writer.write([RejectedItem(rejection) for rejection in listing.unlisted])
        for batch in listing.batches(run.conditions.batch_size):
            found, passed = split_batch(ingestion.definition, batch, buried)
            report.add(passed)
            run.watcher.tell(passed)
            writer.write(ingestion.read(found))
    if ingestion.definition.id != REGISTER_ID:  # by hand, fields are those of what was named
        update_outdated_sources(run.engine, ingestion.definition, ingestion.owner)


def split_batch(
    definition: Definition, batch: Sequence[ChangedFile], buried: frozenset[str]
) -> tuple[list[ChangedFile], RunReport]:
    """The files that are to be read or written, and the report of the others."""
    report, rest = RunReport(), []
    for one in batch:
        if one.verdict == "settling":
            report.settling += 1
        elif one.verdict == "withheld" or (
            buried and is_deleted_group(definition, one.file, buried)
        ):
            report.withheld += 1
        elif one.rejection is not None:
            report.rejected.append(one.rejection)
        else:
            rest.append(one)
    return rest, report


def is_deleted_group(definition: Definition, file: StoredFile, buried: frozenset[str]) -> bool:
    """Whether people deleted the whole group of a file."""
    try:
        return group_of(definition, file).key in buried
    except RasterError:
        return False


class BatchWriter:
    """Writes one batch, in a thread, while the next one is read."""

    def __init__(self, run: RunContext, ingestion: DefinitionRun, report: RunReport) -> None:
        self._run, self._ingestion, self._report = run, ingestion, report
        self._thread = ThreadPoolExecutor(1, "write")
        self._writing: Future[RunReport] | None = None

    def write(self, items: Sequence[BatchItem]) -> None:
        """Write when the batch before is written; raises what that one raised."""
        self._conclude()
        if items:
            self._writing = self._thread.submit(
                copy_context().run, self._run.write, self._ingestion, items
            )

    def _conclude(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            written = writing.result()
            self._report.add(written)
            self._run.watcher.tell(written)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._conclude()
        except Exception:
            if kind is None:  # the first failure is the one to tell
                raise
        finally:
            self._thread.shutdown()
