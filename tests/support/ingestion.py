"""Runs ingestion in the process of a test, quietly."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine

from pipeline.catalogue.run_report import Report
from pipeline.definitions.definition import define
from pipeline.ingest.register import Conditions, Outcome, Reader, Run, Work, register_all
from pipeline.ingest.sync import AnyWork, Plan, plan, sync_all
from pipeline.storage import named_place

CONFIG = Path("/config/sources.toml")


class Quiet:
    """A watcher that shows nothing."""

    def found(self, files: int) -> None:
        pass

    def tell(self, report: Report) -> None:
        pass


def run_of(engine: Engine, reader: Reader, **conditions: Any) -> Run:
    """A run that makes organisations and suppliers."""
    return Run(engine, Conditions(**{"create": True, **conditions}), reader, Quiet())


def work_of(paths: Sequence[Path], **fields: Any) -> Work:
    """Files, folders and a definition of these fields."""
    definition = define({"id": "test", "files": ["*"], "organisation": "Owner", **fields}, "test")
    return Work(definition, [named_place(path) for path in paths])


def report_of(outcomes: Sequence[Outcome]) -> Report:
    """The report of the one definition that was run; raises what it failed of."""
    (outcome,) = outcomes
    if outcome.failure is not None:
        raise outcome.failure
    return outcome.report


def registered(engine: Engine, reader: Reader, work: Work, **conditions: Any) -> Report:
    """Register some work."""
    return report_of(register_all(run_of(engine, reader, **conditions), [work]))


def synced(
    engine: Engine, reader: Reader, work: AnyWork, *, accept_missing: bool = True, **conditions: Any
) -> Report:
    """Sync some work, of which any share may be missing."""
    run = run_of(engine, reader, **conditions)
    return report_of(sync_all(run, [work], CONFIG, accept_missing=accept_missing))


def planned(engine: Engine, work: AnyWork) -> Plan:
    """What a sync would do."""
    return plan(engine, work, CONFIG, Conditions(), Quiet())


def at_work(watcher: psycopg.Connection[Any]) -> bool:
    """Whether another session has written and not committed, or holds the lock of a definition (of one number)."""
    query = """
        SELECT EXISTS (SELECT FROM pg_stat_activity AS session WHERE datname = current_database()
                       AND pid <> pg_backend_pid() AND (backend_xid IS NOT NULL OR EXISTS (
                           SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
                             AND pg_locks.pid = session.pid)))
    """
    (found,) = watcher.execute(query).fetchone() or (False,)
    return bool(found)
