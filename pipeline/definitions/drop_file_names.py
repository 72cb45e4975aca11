"""Parses the name of a dropped file: `<uuid or supplier_code>[_<timestamp>]`."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from pipeline.raster import InvalidTime, parse_time


@dataclass(frozen=True)
class Interpretation:
    """A possible interpretation of a name."""

    key: str
    """Uuid or supplier_code of a raster source."""
    time: datetime | None = None
    """The time in UTC; None if the name has no valid time."""
    fault: str | None = None
    """Why the timestamp is invalid."""


def interpret_name(stem: str, time_zone: str) -> list[Interpretation]:
    """Return all interpretations of the stem of a file name, the most likely first.

    Codes and timestamps may contain underscores, and a code may look like a time. So the first interpretation takes the
    whole name as a code. The others end with a timestamp; the shortest timestamp comes first.
    """
    zone = ZoneInfo(time_zone)
    interpretations = [Interpretation(stem)]
    cut = stem.rfind("_")
    while cut > 0:
        key, text = stem[:cut], stem[cut + 1 :]
        try:
            interpretations.append(Interpretation(key, parse_time(text, zone)))
        except InvalidTime as error:
            if error.code != "unreadable_time":
                interpretations.append(Interpretation(key, fault=f"{text}: {error}"))
        cut = stem.rfind("_", 0, cut)
    return interpretations
