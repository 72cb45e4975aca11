"""The rows of sync_runs: what each ingestion run did."""

from sqlalchemy import Engine, func, insert, update

from pipeline.catalogue.database import begin
from pipeline.catalogue.register import Report
from pipeline.catalogue.tables import sync_runs


def begin_run(engine: Engine, definition: str | None) -> int:
    """A row for a run that starts now; its id."""
    with begin(engine) as connection:
        run: int = connection.execute(
            insert(sync_runs).values(definition=definition).returning(sync_runs.c.id)
        ).scalar_one()
        return run


def finish_run(engine: Engine, run: int, report: Report, failure: str | None = None) -> None:
    """Say how the run ended."""
    state = "failed" if failure else "rejections" if report.rejected else "completed"
    counts = {
        "listed": report.listed,
        "registered": report.registered,
        "unchanged": report.unchanged,
        "rejected": len(report.rejected),
        "bytes": report.bytes,
    }
    statement = update(sync_runs).where(sync_runs.c.id == run)
    with begin(engine) as connection:
        connection.execute(
            statement.values(state=state, finished=func.clock_timestamp(), detail=failure, **counts)
        )
