"""Lists when the definitions of a sources.toml run."""

from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline.definitions.definition import Definition
from pipeline.definitions.drop_folder import DropFolder
from pipeline.definitions.schedule_times import CronLine, Period, Recurrence, ScheduleEntry
from pipeline.definitions.sources_toml import load_config


def recurrence_of(definition: Definition | DropFolder) -> Recurrence | None:
    """Return the recurrence of a definition; None if it has no schedule."""
    zone = ZoneInfo(definition.time_zone)
    if definition.every:
        return Period(definition.every, zone)
    return CronLine(definition.schedule, zone) if definition.schedule else None


def list_schedules(path: Path) -> list[ScheduleEntry]:
    """Return all definitions of a sources.toml; raise CatalogueError if the file is invalid or does not exist."""
    entries = []
    for table in load_config(path).tables:
        named = table.organisation or ()
        owners = (named,) if isinstance(named, str) else tuple(named)
        entries.append(ScheduleEntry(table.id, owners, recurrence_of(table)))
    return entries
