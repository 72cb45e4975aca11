"""The rows of sync_runs: what each ingestion run did."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Engine, func, insert, update

from pipeline.catalogue.run_report import RunReport
from pipeline.database.engine import begin
from pipeline.database.tables import sync_runs
from pipeline.errors import RunInProgress, TransientError


@dataclass(frozen=True)
class SyncRun:
    """The row of a run that is at work."""

    engine: Engine
    id: int
    definition: str

    def mark_killed_runs(self) -> None:
        """Say of earlier runs that still seem to be at work that they were killed: whoever got the lock was alone."""
        others = (
            sync_runs.c.definition == self.definition,
            sync_runs.c.state == "running",
            sync_runs.c.id < self.id,
        )
        with begin(self.engine) as connection:
            connection.execute(
                update(sync_runs)
                .where(*others)
                .values(
                    state="failed",
                    finished=func.clock_timestamp(),
                    detail="it was killed before it ended; the next run completed the work",
                )
            )

    def finish(self, report: RunReport, state: str, detail: str | None) -> None:
        """Say how the run ended."""
        counts = {
            name: getattr(report, name)
            for name in ("listed", "registered", "unchanged", "moved", "missing", "withheld", "settling", "bytes")
        }  # fmt: skip
        statement = update(sync_runs).where(sync_runs.c.id == self.id)
        with begin(self.engine) as connection:
            connection.execute(
                statement.values(
                    state=state,
                    finished=func.clock_timestamp(),
                    detail=detail,
                    rejected=len(report.rejected),
                    reasons=report.reasons,
                    **counts,
                )
            )


@contextmanager
def record_run(engine: Engine, definition: str, report: RunReport) -> Iterator[SyncRun]:
    """A row for a run, finished with what the report holds at the end of the block, also when that raises."""
    with begin(engine) as connection:
        statement = insert(sync_runs).values(definition=definition).returning(sync_runs.c.id)
        row = SyncRun(engine, connection.execute(statement).scalar_one(), definition)
    try:
        yield row
    except BaseException as error:
        state = "overlapping" if isinstance(error, RunInProgress) else "failed"
        # A database that is away cannot be told; the next run sees to the row.
        with suppress(TransientError):
            row.finish(report, state, str(error) or "it was stopped")
        raise
    row.finish(report, "rejections" if report.rejected else "completed", None)
