"""Runs ingestion in the process of a test, quietly."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine

from pipeline.catalogue.sync_runs import RunReport
from pipeline.definitions.definition import make_definition
from pipeline.ingest.plan import Plan, plan
from pipeline.ingest.register import (
    DefinitionFiles,
    Reader,
    RunContext,
    RunOptions,
    RunOutcome,
    register_all,
)
from pipeline.ingest.sync import SyncItem, sync_all
from pipeline.storage import literal_location

CONFIG = Path("/config/sources.toml")


class Quiet:
    """A progress reporter that shows nothing."""

    def add_total(self, files: int) -> None:
        pass

    def advance(self, files: int) -> None:
        pass


def run_of(engine: Engine, reader: Reader, **conditions: Any) -> RunContext:
    """A run that makes organisations and suppliers."""
    return RunContext(engine, RunOptions(**{"create": True, **conditions}), reader, Quiet())


def work_of(paths: Sequence[Path], **fields: Any) -> DefinitionFiles:
    """Files, folders and a definition of these fields."""
    definition = make_definition({"id": "test", "files": ["*"], "organisation": "Owner", **fields})
    return DefinitionFiles(definition, [literal_location(path) for path in paths])


def report_of(outcomes: Sequence[RunOutcome]) -> RunReport:
    """The report of the one definition that was run; raises what it failed of."""
    (outcome,) = outcomes
    if outcome.failure is not None:
        raise outcome.failure
    return outcome.report


def registered(
    engine: Engine, reader: Reader, work: DefinitionFiles, **conditions: Any
) -> RunReport:
    """Register some work."""
    return report_of(register_all(run_of(engine, reader, **conditions), [work]))


def synced(
    engine: Engine,
    reader: Reader,
    work: SyncItem,
    *,
    accept_missing: bool = True,
    **conditions: Any,
) -> RunReport:
    """Sync some work, of which any share may be missing."""
    run = run_of(engine, reader, **conditions)
    return report_of(sync_all(run, [work], CONFIG, accept_missing=accept_missing))


def planned(engine: Engine, work: SyncItem) -> Plan:
    """What a sync would do."""
    return plan(engine, work, CONFIG, RunOptions(), Quiet())


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
