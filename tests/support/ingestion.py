"""Run ingestion in the process of a test, without printing progress."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine

from pipeline.catalogue.sync_runs import RunReport
from pipeline.definitions.definition import Definition
from pipeline.ingest.plan import SyncPlan, plan
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


class SilentReporter:
    """A progress reporter that prints nothing."""

    def add_total(self, files: int) -> None:
        pass

    def advance(self, files: int) -> None:
        pass


def run_context(engine: Engine, reader: Reader, **options: Any) -> RunContext:
    """Make the context of a run, which by default creates organisations and suppliers."""
    return RunContext(engine, RunOptions(**{"create": True, **options}), reader, SilentReporter())


def definition_files(paths: Sequence[Path], **fields: Any) -> DefinitionFiles:
    """Make a definition with these fields for these files and folders."""
    definition = Definition.make({"id": "test", "files": ["*"], "organisation": "Owner", **fields})
    return DefinitionFiles(definition, [literal_location(path) for path in paths])


def single_report(outcomes: Sequence[RunOutcome]) -> RunReport:
    """Return the report of the only definition that was run; raise its failure if it failed."""
    (outcome,) = outcomes
    if outcome.failure is not None:
        raise outcome.failure
    return outcome.report


def register_files(
    engine: Engine, reader: Reader, item: DefinitionFiles, **options: Any
) -> RunReport:
    """Register the files of a definition."""
    return single_report(register_all(run_context(engine, reader, **options), [item]))


def sync_files(
    engine: Engine,
    reader: Reader,
    item: SyncItem,
    *,
    accept_missing: bool = True,
    **options: Any,
) -> RunReport:
    """Sync a definition; by default any share of its files may be missing."""
    run = run_context(engine, reader, **options)
    return single_report(sync_all(run, [item], CONFIG, accept_missing=accept_missing))


def plan_files(engine: Engine, item: SyncItem) -> SyncPlan:
    """Plan a sync of a definition."""
    return plan(engine, item, CONFIG, RunOptions(), SilentReporter())


def is_another_session_writing(watcher: psycopg.Connection[Any]) -> bool:
    """Whether another session has an open write, or holds the lock of a definition (an advisory lock of one number)."""
    query = """
        SELECT EXISTS (SELECT FROM pg_stat_activity AS session WHERE datname = current_database()
                       AND pid <> pg_backend_pid() AND (backend_xid IS NOT NULL OR EXISTS (
                           SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
                             AND pg_locks.pid = session.pid)))
    """
    (is_writing,) = watcher.execute(query).fetchone() or (False,)
    return bool(is_writing)
