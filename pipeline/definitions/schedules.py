"""When the definitions of a sources.toml run."""

from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline.definitions.definition import Definition
from pipeline.definitions.drop_folder import DropFolder
from pipeline.definitions.schedule_times import CronLine, Period, Recurrence, ScheduleEntry
from pipeline.definitions.sources_toml import load_config


def recurrence_of(definition: Definition | DropFolder) -> Recurrence:
    """Return the recurrence of a definition that has a schedule."""
    zone = ZoneInfo(definition.time_zone)
    if definition.every:
        return Period(definition.every, zone)
    return CronLine(definition.schedule or "", zone)


def list_schedules(path: Path) -> list[ScheduleEntry]:
    """Return all definitions of a sources.toml; raise CatalogueError if it is wrong or not there."""
    config = load_config(path)
    scheduled = {table.id for table in config.scheduled}
    tables: Sequence[Definition | DropFolder] = [*config.source, *config.drop]
    return [
        ScheduleEntry(
            table.id, owners_of(table), recurrence_of(table) if table.id in scheduled else None
        )
        for table in tables
    ]


def owners_of(table: Definition | DropFolder) -> tuple[str, ...]:
    """Return the names of the organisations that a definition names."""
    if isinstance(table, Definition):
        return (table.organisation,)
    return tuple(table.organisation or ())
