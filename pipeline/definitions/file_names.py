"""What the name of a dropped file may say: `<uuid or supplier_code>[_<timestamp>]`."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from pipeline.raster import InvalidTime, parse_time


@dataclass(frozen=True)
class Interpretation:
    """One way to understand a name."""

    key: str
    """Uuid or supplier_code of a raster source."""
    time: datetime | None = None
    """UTC; None where the name says none."""
    fault: str | None = None
    """Why the timestamp is none, although it looks like one."""


def interpret_name(stem: str, time_zone: str) -> list[Interpretation]:
    """All ways to understand the name of a file, without its ending; the likeliest first.

    Codes may hold underscores and what looks like a time, timestamps may hold underscores: the name as a
    whole is a code, or else ends in a timestamp, the shortest one first.
    """
    zone = ZoneInfo(time_zone)
    found = [Interpretation(stem)]
    cut = stem.rfind("_")
    while cut > 0:
        try:
            found.append(Interpretation(stem[:cut], parse_time(stem[cut + 1 :], zone)))
        except InvalidTime as error:
            if error.code != "unreadable_time":
                found.append(Interpretation(stem[:cut], fault=f"{stem[cut + 1 :]}: {error}"))
        cut = stem.rfind("_", 0, cut)
    return found
