"""Runs a definition: lists its files, compares them with the catalogue, reads and writes them.

The command line and the flows call this. Files are written in batches; each batch is one transaction.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Protocol
from uuid import UUID

from sqlalchemy import Engine

from pipeline.catalogue.comparison import (
    NOT_READ,
    TO_READ,
    ChangedFile,
    Comparison,
    open_comparison,
)
from pipeline.catalogue.definitions import check_uuid, update_outdated_sources
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.owners import Owner, find_owner
from pipeline.catalogue.register import BatchItem, group_key_of, register_batch
from pipeline.catalogue.sync_runs import RunReport, SyncRun, count_files, record_run
from pipeline.catalogue.tombstones import find_deleted_groups
from pipeline.definitions.definition import Definition
from pipeline.definitions.field_types import REGISTER_ID
from pipeline.definitions.grouping import are_different_steps
from pipeline.definitions.sources_toml import load_config
from pipeline.errors import RastersourcesError, Rejection
from pipeline.raster import FileOptions, ReadOptions
from pipeline.storage import (
    EVERYWHERE,
    ListedItem,
    Location,
    Root,
    StoredFile,
    list_files,
    literal_location,
)

Reader = Callable[[Iterable[StoredFile], FileOptions], Iterable[FileRow | Rejection]]
"""Reads files in order, such as the method `read` of a pool of processes."""
BatchWriter = Callable[[Callable[[], RunReport]], RunReport]
"""Calls a function that writes one batch; a flow does it in a task with retries."""
MAX_BATCHES_TO_WRITE = 2
"""Maximum number of batches that are being written or wait, so that the readers rarely wait for the database."""
Steps = Generator[RunReport, None, None]
"""Yields a report for each step of a run."""


class ProgressReporter(Protocol):
    """Shows the progress of a run."""

    def add_total(self, files: int) -> None:
        """Show that more files were listed."""

    def advance(self, files: int) -> None:
        """Show that more files are done."""


@dataclass(frozen=True)
class DefinitionFiles:
    """A definition and the locations of its files."""

    definition: Definition
    locations: Sequence[Location]

    @property
    def id(self) -> str:
        """The id of the definition."""
        return self.definition.id

    def listed(self, roots: Sequence[Root]) -> Iterator[ListedItem]:
        """Yield the files, and a rejection for each file or folder that cannot be listed."""
        return list_files(self.locations, roots)


class FilesToList(Protocol):
    """A definition, and a list of its files."""

    @property
    def definition(self) -> Definition:
        """What the files belong to, and how they are read."""

    def listed(self, roots: Sequence[Root]) -> Iterator[ListedItem]:
        """Yield the files, and a rejection for each file or folder that cannot be listed."""


@dataclass(frozen=True)
class RunOptions:
    """Options for reading and writing the files of all definitions of a run."""

    roots: Sequence[Root] = EVERYWHERE
    reading: ReadOptions = field(default_factory=ReadOptions)
    """Options for reading; a definition may replace some of them for its files."""
    batch_size: int = 1000
    create: bool = False
    """Whether to add organisations and suppliers that do not exist."""


@dataclass(frozen=True)
class RunContext:
    """The objects that all definitions of a run share."""

    engine: Engine
    options: RunOptions
    reader: Reader
    progress: ProgressReporter
    write: BatchWriter = lambda batch: batch()
    flow_run: UUID | None = None
    """The id of the Prefect flow run, if there is one."""


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of the run of one definition."""

    definition: str
    report: RunReport
    failure: RastersourcesError | None
    """Why the run stopped before its end."""
    seconds: float
    run: int | None = None
    """The id of its row of sync_runs; None if the row could not be written."""


class RunStopped(KeyboardInterrupt):
    """Ctrl-C during the run of a definition; has the number of files that the run had registered."""

    def __init__(self, definition: str, run: int, files: int) -> None:
        super().__init__()
        self.definition, self.run, self.files = definition, run, files


@dataclass(frozen=True)
class DefinitionRun:
    """The run of one definition, after its files were listed and compared."""

    context: RunContext
    definition: Definition
    owner: Owner
    comparison: Comparison

    def read_and_write(self) -> Steps:
        """Read and write the new and changed files, batch by batch."""
        yield RunReport(unchanged=self.comparison.counts()["unchanged"])
        with ThreadPoolExecutor(1, "write") as thread:
            writing: deque[Future[RunReport]] = deque()
            try:
                for skipped, items in self._batches():
                    yield skipped
                    if len(writing) == MAX_BATCHES_TO_WRITE:
                        yield writing.popleft().result()
                    if items:
                        write = partial(
                            register_batch, self.context.engine, self.definition, self.owner, items
                        )
                        writing.append(thread.submit(copy_context().run, self.context.write, write))
                while writing:
                    yield writing.popleft().result()
            except GeneratorExit:  # a closed generator cannot yield
                raise
            except BaseException:  # including KeyboardInterrupt and SystemExit
                with suppress(Exception):  # report only the first failure
                    while writing:
                        yield writing.popleft().result()
                raise
            finally:
                for batch in writing:
                    batch.cancel()
        if self.definition.id != REGISTER_ID:  # by hand, the fields apply only to the given files
            update_outdated_sources(self.context.engine, self.definition, self.owner)

    def _batches(self) -> Iterator[tuple[RunReport, list[BatchItem]]]:
        """Yield batches to write, and reports of files that are not written.

        The readers get the files as one stream, so that they do not wait for each other at the end of a batch.
        """
        size, options = self.context.options.batch_size, self.context.options.reading
        deleted = find_deleted_groups(self.context.engine, self.definition.id)
        yield RunReport(), [BatchItem(None, rejection) for rejection in self.comparison.unlisted]
        for batch in self.comparison.batches(size, NOT_READ):
            outdated, others = split_batch(self.definition, batch, deleted)
            yield others, [BatchItem(item.file, None) for item in outdated]
        reading: deque[ChangedFile] = deque()
        skipped = RunReport()

        def files() -> Iterator[StoredFile]:
            for batch in self.comparison.batches(size, TO_READ):
                changed, others = split_batch(self.definition, batch, deleted)
                skipped.add(others)
                reading.extend(changed)
                yield from (item.file for item in changed)

        results = self.context.reader(files(), self.definition.read_options(options))
        read_files = ((reading.popleft(), result) for result in results)
        items = (BatchItem(item.file, result, item.moved_from) for item, result in read_files)
        while read := list(islice(items, size)):
            yield RunReport(), read
        yield skipped, []


def files_from_arguments(
    locations: Sequence[str], fields: dict[str, object]
) -> list[DefinitionFiles]:
    """Return a definition with one source per file; `fields` are fields of a definition, with None for omitted ones.

    Raises CatalogueError with the name of a wrong field.
    """
    present_fields = {name: value for name, value in fields.items() if value is not None}
    definition = Definition.make({**present_fields, "id": REGISTER_ID, "files": ["."]})
    return [DefinitionFiles(definition, [literal_location(location) for location in locations])]


def files_from_config(path: Path, *, empty: bool = False) -> list[DefinitionFiles]:
    """Return the definitions of a sources.toml; with `empty` there may be none.

    Raises CatalogueError that says what is wrong in the file.
    """
    folder, config = path.absolute().parent, load_config(path, empty=empty)
    return [DefinitionFiles(source, source.locations(folder)) for source in config.source]


def register_all(context: RunContext, definitions: Sequence[DefinitionFiles]) -> list[RunOutcome]:
    """Add and update the listed files; do not change other files of the catalogue."""
    return [run_steps(context, files.id, partial(register, files=files)) for files in definitions]


def run_steps(
    context: RunContext, name: str, steps: Callable[[RunContext, SyncRun], Steps]
) -> RunOutcome:
    """Run the steps of one definition and record them; a failure does not stop the other definitions.

    Raises RunStopped after Ctrl-C.
    """
    began, report, failure, number = monotonic(), RunReport(), None, None
    try:
        with (
            record_run(context.engine, name, context.flow_run) as run,
            closing(steps(replace(context, engine=run.engine), run)) as reports,
        ):
            report, number = run.report, run.id
            for step in reports:
                report.add(step)
                context.progress.advance(step.listed)
    except RastersourcesError as error:
        failure = error
    except KeyboardInterrupt as error:
        if number is None:
            raise
        raise RunStopped(name, number, count_files(context.engine, number)) from error
    return RunOutcome(name, report, failure, monotonic() - began, number)


def register(context: RunContext, row: SyncRun, files: DefinitionFiles) -> Steps:
    """Add and update the files of one definition."""
    with open_run(context, files, row, complete=False) as run:
        check_uuid(context.engine, files.definition, claim=True)
        yield from run.read_and_write()
        run.comparison.update_rejections(run.owner.organisation_id, complete=False)


@contextmanager
def open_run(
    context: RunContext, files: FilesToList, row: SyncRun, *, complete: bool
) -> Iterator[DefinitionRun]:
    """List and compare the files of a definition while holding its lock. Runs of `register PATH` share their lock.

    Raises RunInProgress when another run of the definition is in progress, CatalogueError when an organisation or
    supplier does not exist.
    """
    definition, options = files.definition, context.options
    exclusive = definition.id != REGISTER_ID
    with open_comparison(context.engine, definition, exclusive=exclusive) as comparison:
        if exclusive or comparison.share_lock():
            row.mark_killed_runs()
        owner = find_owner(context.engine, definition, create=options.create)
        row.add_organisations([owner.organisation_id])
        list_and_compare(comparison, files, options, context.progress, complete=complete)
        yield DefinitionRun(context, definition, owner, comparison)


def list_and_compare(
    comparison: Comparison,
    files: FilesToList,
    options: RunOptions,
    progress: ProgressReporter,
    *,
    complete: bool,
) -> None:
    """List the files of a definition, and compare them with the catalogue."""
    definition = files.definition
    comparison.fill(count_listed(files.listed(options.roots), progress))
    is_other_step = partial(are_different_steps, definition)
    comparison.compare(definition.settle_seconds, complete=complete, is_other_step=is_other_step)


def count_listed(
    files: Iterable[StoredFile | Rejection], progress: ProgressReporter
) -> Iterator[StoredFile | Rejection]:
    """Yield the files, and report every thousand of them."""
    count = 0
    for count, file in enumerate(files, 1):
        if count % 1000 == 0:
            progress.add_total(1000)
        yield file
    progress.add_total(count % 1000)


def split_batch(
    definition: Definition, batch: Sequence[ChangedFile], deleted: frozenset[str]
) -> tuple[list[ChangedFile], RunReport]:
    """Return the files to read or write, and the report of the others; `deleted` are keys of groups users deleted."""
    report, rest = RunReport(), []
    for changed in batch:
        if changed.verdict == "settling":
            report.settling += 1
        elif changed.verdict == "withheld" or is_deleted_group(definition, changed.file, deleted):
            report.withheld += 1
        elif changed.rejection is not None:
            report.rejected.append(changed.rejection)
            report.repeated.add(changed.rejection.uri)
        else:
            rest.append(changed)
    return rest, report


def is_deleted_group(definition: Definition, file: StoredFile, deleted: frozenset[str]) -> bool:
    """Return whether a user deleted the whole group of a file."""
    return bool(deleted) and group_key_of(definition, file) in deleted
