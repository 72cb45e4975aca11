"""When the definitions of a sources.toml run."""

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
    entries, config = [], load_config(path)
    for table in config.tables:
        named = table.organisation or ()
        owners = (named,) if isinstance(named, str) else tuple(named)
        when = recurrence_of(table) if table in config.scheduled else None
        entries.append(ScheduleEntry(table.id, owners, when))
    return entries
