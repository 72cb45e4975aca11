"""Map tiles in web mercator: which tiles exist, and their position."""

import re
from collections.abc import Mapping
from math import atan, degrees, pi, sinh
from typing import Any, NamedTuple

DEEPEST = 24
"""The last zoom level that has tiles."""
EARTH = 20037508.342789244
"""Half the circumference of the earth in web mercator (EPSG:3857), in metres."""
_NUMBER = re.compile("[0-9]{1,8}")


class MapTile(NamedTuple):
    """A tile in the XYZ scheme: x and y count from the north-west corner, and a row has 2**z tiles."""

    z: int
    x: int
    y: int

    @property
    def side(self) -> float:
        """Width and height in metres of web mercator."""
        return 2 * EARTH / (1 << self.z)

    @property
    def left(self) -> float:
        """The western edge in metres of web mercator."""
        return self.x * self.side - EARTH

    @property
    def bottom(self) -> float:
        """The southern edge in metres of web mercator."""
        return EARTH - (self.y + 1) * self.side

    def degrees(self, beyond: float = 0.0) -> tuple[float, float, float, float]:
        """Return west, south, east and north in degrees; `beyond` is a buffer in metres on each side."""
        west = (self.left - beyond) / EARTH * 180
        east = (self.left + self.side + beyond) / EARTH * 180
        south, north = self.bottom - beyond, self.bottom + self.side + beyond
        return west, _latitude(south), east, _latitude(north)


def find_tile(path: Mapping[str, Any]) -> MapTile | None:
    """Return the tile that the texts z, x and y name; None if the tile does not exist."""
    texts = [str(path[name]) for name in MapTile._fields]
    if not all(map(_NUMBER.fullmatch, texts)):
        return None
    tile = MapTile(*map(int, texts))
    return tile if tile.z <= DEEPEST and max(tile.x, tile.y) < 2**tile.z else None


def _latitude(northing: float) -> float:
    return degrees(atan(sinh(northing / EARTH * pi)))
