"""Counts what each run of a definition did, and writes its row of sync_runs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Engine, Row

from pipeline.database.engine import engine_of_run, execute
from pipeline.database.queries import queries
from pipeline.definitions.field_types import REGISTER_ID
from pipeline.errors import Rejection, RunInProgress, TransientError

QUERIES = queries("sync_runs")
SUMS = "registered", "unchanged", "moved", "missing", "withheld", "settling", "bytes"


@dataclass
class RunReport:
    """What a run, or a step of a run, did."""

    registered: int = 0
    """Files that were read and written, including moved ones."""
    unchanged: int = 0
    moved: int = 0
    """Files that were registered before under another URI."""
    missing: int = 0
    """Registered files that are gone; this run marked them as missing or removed them."""
    withheld: int = 0
    """Files that a user deleted from the catalogue; the run does not register them."""
    settling: int = 0
    """Files that changed too recently to be read."""
    bytes: int = 0
    """Total size of the registered files in bytes."""
    rejected: list[Rejection] = field(default_factory=list)
    """Files that this run rejected, or that an earlier run rejected and that have not changed since."""
    repeated: set[str] = field(default_factory=set)
    """URIs of the rejected files that an earlier run rejected."""
    revised: Set[str] = frozenset()
    """URIs of files that an earlier step of the run rejected, and for which this step has another result."""
    warnings: Counter[str] = field(default_factory=Counter)
    """Warning code -> number of files that were registered with the warning."""

    @property
    def listed(self) -> int:
        """Number of all files that were listed."""
        counted = self.registered + self.unchanged + self.withheld + self.settling
        return counted + len(self.rejected) - len(self.revised)

    @property
    def reasons(self) -> dict[str, int]:
        """Reason code -> number of rejected files, the most frequent first."""
        return dict(Counter(rejection.code for rejection in self.rejected).most_common())

    def add(self, step: "RunReport") -> None:
        """Add the report of another step."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(step, name))
        if step.revised:
            self.rejected = [file for file in self.rejected if file.uri not in step.revised]
        self.rejected += step.rejected
        self.repeated |= step.repeated
        self.warnings += step.warnings


@dataclass(frozen=True)
class SyncRun:
    """The row of a run in progress."""

    engine: Engine
    """The engine of the run; its transactions store the id of the run with each row."""
    id: int
    definition: str
    report: RunReport = field(default_factory=RunReport)
    """What the run has done so far."""

    def mark_killed_runs(self) -> None:
        """Mark earlier 'running' runs as killed; call only while holding the lock."""
        execute(self.engine, QUERIES["mark_killed"], definition=self.definition, id=self.id)

    def add_organisations(self, ids: Iterable[int]) -> None:
        """Record the organisations whose files the run reads; their members may see the run."""
        execute(self.engine, QUERIES["add_organisations"], id=self.id, ids=sorted(ids))

    def finish(self, state: str, detail: str | None) -> None:
        """Record the end of the run."""
        values = {name: getattr(self.report, name) for name in ("listed", *SUMS)}
        values |= {"rejected": len(self.report.rejected), "reasons": Jsonb(self.report.reasons)}
        values |= {"warnings": Jsonb(dict(self.report.warnings.most_common()))}
        values |= {"by_hand": REGISTER_ID}
        execute(self.engine, QUERIES["finish"], id=self.id, state=state, detail=detail, **values)


def list_runs(engine: Engine, definition: str | None, most: int) -> Sequence[Row[Any]]:
    """Return the last runs of a definition or of all, the newest first."""
    return execute(engine, QUERIES["list_runs"], definition=definition, most=most)


def count_files(engine: Engine, run: int) -> int:
    """Return how many files a run registered that no later run registered again."""
    (row,) = execute(engine, QUERIES["count_files"], run=run)
    return int(row.files)


@contextmanager
def record_run(engine: Engine, definition: str, flow_run: UUID | None = None) -> Iterator[SyncRun]:
    """Insert the row of a run, and finish it at the end of the block, even when the block raises.

    `flow_run` is the id of the Prefect flow run that runs it.
    """
    (row,) = execute(engine, QUERIES["begin"], definition=definition, flow_run=flow_run)
    run = SyncRun(engine_of_run(engine, row.id), row.id, definition)
    try:
        yield run
    except BaseException as error:
        state = "overlapping" if isinstance(error, RunInProgress) else "failed"
        # If the database does not answer, the row stays 'running'; the next run marks it as killed.
        with suppress(TransientError):
            run.finish(state, str(error) or "it was stopped")
        raise
    run.finish("rejections" if run.report.rejected else "completed", None)


def count_batch(connection: Connection, report: RunReport) -> None:
    """Add a batch to the row of the run, in the transaction that writes it."""
    values = {"files": report.listed, "registered": report.registered, "bytes": report.bytes}
    connection.execute(QUERIES["advance"], {**values, "rejected": len(report.rejected)})


def forget_old_runs(engine: Engine, days: int) -> None:
    """Delete the rows of runs that began more than `days` days ago."""
    execute(engine, QUERIES["forget_old"], days=days)
