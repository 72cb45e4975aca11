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

from pipeline.catalogue.comparison import TO_READ, Found, Listing, listing_of
from pipeline.catalogue.definitions import adopt
from pipeline.catalogue.owners import find_owner
from pipeline.catalogue.redefinition import redefine
from pipeline.catalogue.register import Item, Outdated, Owner, Read, Refused, register_batch
from pipeline.catalogue.run_report import Report
from pipeline.catalogue.sync_runs import recorded
from pipeline.catalogue.tombstones import buried_groups
from pipeline.definitions.definition import Definition, define, places_of
from pipeline.definitions.fields import REGISTER
from pipeline.definitions.grouping import are_steps, group_of
from pipeline.definitions.sources_toml import load
from pipeline.errors import RasterError, RastersourcesError, Rejection
from pipeline.raster import Options, RasterFile, ReadOptions
from pipeline.storage import EVERYWHERE, Place, Root, StoredFile, list_files, named_place

Reader = Callable[[Sequence[StoredFile], Options], Iterable[RasterFile | Rejection]]
"""Reads files in their order, such as the `read` of a pool of processes."""
DEFAULT_OPTIONS = ReadOptions()


class Watcher(Protocol):
    """Whoever shows how far a run is."""

    def found(self, files: int) -> None:
        """So many more files were listed."""

    def tell(self, report: Report) -> None:
        """So much more was done."""


@dataclass(frozen=True)
class Work:
    """A definition and the places at which its files are."""

    definition: Definition
    places: Sequence[Place]

    @property
    def id(self) -> str:
        """The name of the definition."""
        return self.definition.id


@dataclass(frozen=True)
class Conditions:
    """How a run reads and writes, whatever the definition."""

    roots: Sequence[Root] = EVERYWHERE
    options: ReadOptions = DEFAULT_OPTIONS
    """As a definition changes them."""
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

    def read(self, found: Sequence[Found]) -> list[Item]:
        """Read those of the files that have to be read."""
        reading = [one for one in found if one.verdict in TO_READ]
        files = [one.file for one in reading]
        results = self.reader(files, self.options) if files else ()
        read = [
            Refused(result, one.file)
            if isinstance(result, Rejection)
            else Read(one.file, result, one.moved_from)
            for one, result in zip(reading, results, strict=True)
        ]
        return [*read, *(Outdated(one.file) for one in found if one.verdict == "outdated")]

    def write(self, items: Sequence[Item], evicted: Sequence[str] = ()) -> Report:
        """Bring what was read into the catalogue, in one transaction; see `register_batch`."""
        return register_batch(self.engine, self.definition, self.owner, items, evicted)


Write = Callable[..., Report]
"""`Ingestion.write`, or what wraps it."""


@dataclass(frozen=True)
class Run:
    """What the works of one run share."""

    engine: Engine
    conditions: Conditions
    reader: Reader
    watcher: Watcher
    write: Write = Ingestion.write

    def ingestion(self, definition: Definition) -> Ingestion:
        """Ready to be run; raises CatalogueError where an organisation or supplier is missing."""
        owner = find_owner(self.engine, definition, create=self.conditions.create)
        options = definition.options(self.conditions.options)
        return Ingestion(self.engine, definition, owner, options, self.reader)


@dataclass
class Outcome:
    """How the run of one definition ended."""

    definition: str
    report: Report = field(default_factory=Report)
    failure: RastersourcesError | None = None
    """Why it ended before it was through."""
    seconds: float = 0.0


def work_of_arguments(places: Sequence[str], fields: dict[str, object]) -> list[Work]:
    """One source per file; `fields` are those of a definition. Raises CatalogueError that names a wrong one."""
    given = {name: value for name, value in fields.items() if value is not None}
    definition = define({**given, "id": REGISTER, "files": ["."]}, "arguments")
    return [Work(definition, [named_place(place) for place in places])]


def work_of_config(path: Path, *, empty: bool = False) -> list[Work]:
    """The definitions of a sources.toml and their files; raises CatalogueError that says what is wrong in it."""
    folder, config = path.absolute().parent, load(path, empty=empty)
    return [Work(definition, places_of(definition, folder)) for definition in config.source]


def register_all(run: Run, works: Sequence[Work]) -> list[Outcome]:
    """Add and update what is listed, and leave alone what is not."""
    return [outcome_of(work.id, partial(register, run, work)) for work in works]


def outcome_of(name: str, act: Callable[[Report], None]) -> Outcome:
    """Run one definition: what goes wrong with it does not keep others from being run."""
    outcome, began = Outcome(name), monotonic()
    try:
        act(outcome.report)
    except RastersourcesError as error:
        outcome.failure = error
    outcome.seconds = monotonic() - began
    return outcome


def register(run: Run, work: Work, report: Report) -> None:
    """Add and update the files of one definition."""
    with compared(run, work, report, complete=False) as (ingestion, listing):
        adopt(run.engine, work.definition)
        bring_in(run, ingestion, listing, report)
        listing.see_to_refusals(ingestion.owner.organisation_id, complete=False)


@contextmanager
def compared(
    run: Run, work: Work, report: Report, *, complete: bool
) -> Iterator[tuple[Ingestion, Listing]]:
    """A definition, ready to be run, and its files, compared; meanwhile a row of sync_runs keeps the report.

    Raises Overlapping where another run of the definition is at work, CatalogueError where an organisation or
    supplier is missing.
    """
    alone = work.definition.id != REGISTER
    with (
        recorded(run.engine, work.definition.id, report) as row,
        listing_of(run.engine, work.definition, alone=alone) as listing,
    ):
        if alone or listing.join():
            row.bury_dead()
        ingestion = run.ingestion(work.definition)
        fill(listing, work, run.conditions, run.watcher)
        compare(listing, work.definition, complete=complete)
        yield ingestion, listing


def fill(listing: Listing, work: Work, conditions: Conditions, watcher: Watcher) -> None:
    """List the files of a definition."""
    listing.fill(watched(list_files(work.places, conditions.roots), watcher))


def compare(listing: Listing, definition: Definition, *, complete: bool) -> None:
    """Compare what was listed with what is known."""
    apart = partial(are_steps, definition)
    listing.compare(definition.settle_seconds, complete=complete, apart=apart)


def watched(
    files: Iterable[StoredFile | Rejection], watcher: Watcher
) -> Iterator[StoredFile | Rejection]:
    """The files, of which a watcher hears now and then."""
    count = 0
    for count, file in enumerate(files, 1):
        if count % 1000 == 0:
            watcher.found(1000)
        yield file
    watcher.found(count % 1000)


def bring_in(run: Run, ingestion: Ingestion, listing: Listing, report: Report) -> None:
    """Read and write what is new or changed, batch by batch; what was done is in the report, also when it fails."""
    known = Report(unchanged=listing.counts()["unchanged"])
    report.add(known)
    run.watcher.tell(known)
    buried = buried_groups(run.engine, ingestion.definition.id)
    with Writer(run, ingestion, report) as writer:
        writer.write([Refused(rejection) for rejection in listing.unlisted])
        for batch in listing.batches(run.conditions.batch_size):
            found, passed = set_apart(ingestion.definition, batch, buried)
            report.add(passed)
            run.watcher.tell(passed)
            writer.write(ingestion.read(found))
    if ingestion.definition.id != REGISTER:  # by hand, fields are those of what was named
        redefine(run.engine, ingestion.definition, ingestion.owner)


def set_apart(
    definition: Definition, batch: Sequence[Found], buried: frozenset[str]
) -> tuple[list[Found], Report]:
    """The files that are to be read or written, and the report of the others."""
    report, rest = Report(), []
    for one in batch:
        if one.verdict == "settling":
            report.settling += 1
        elif one.verdict == "withheld" or (buried and is_buried(definition, one.file, buried)):
            report.withheld += 1
        elif one.rejection is not None:
            report.rejected.append(one.rejection)
        else:
            rest.append(one)
    return rest, report


def is_buried(definition: Definition, file: StoredFile, buried: frozenset[str]) -> bool:
    """Whether people deleted the whole group of a file."""
    try:
        return group_of(definition, file).key in buried
    except RasterError:
        return False


class Writer:
    """Writes one batch, in a thread, while the next one is read."""

    def __init__(self, run: Run, ingestion: Ingestion, report: Report) -> None:
        self._run, self._ingestion, self._report = run, ingestion, report
        self._thread = ThreadPoolExecutor(1, "write")
        self._writing: Future[Report] | None = None

    def write(self, items: Sequence[Item]) -> None:
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
