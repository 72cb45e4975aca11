"""Chooses the coordinate operation that takes a raster to WGS 84, and says which one it was."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import inf

import numpy as np
import numpy.typing as npt
import pyproj
from pyproj import Transformer
from pyproj.enums import TransformDirection
from pyproj.exceptions import CRSError, ProjError
from pyproj.network import set_network_enabled  # type: ignore[attr-defined]
from pyproj.transformer import TransformerGroup

from pipeline.errors import UnsupportedCRS
from pipeline.raster.models import Operation
from pipeline.raster.placement.crs import HorizontalCRS

Floats = npt.NDArray[np.float64]

POLICIES = ("lizard", "best-available")

PINNED_OPERATIONS = {
    # Amersfoort to WGS 84 (3). PROJ itself takes EPSG:4833, number (4), which has the same
    # accuracy and area and lies 6 mm beside it; the existing Lizard records were made with (3):
    # it reproduces them to 7e-15 degrees.
    "EPSG:28992": "EPSG:15934",
}
"""CRS -> the operation that is used for it, whatever PROJ would choose."""

_WGS84 = "EPSG:4326"
_AXES = "axis order change"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way from a CRS to WGS 84."""

    transformer: Transformer
    """(x, y) to (longitude, latitude) in degrees."""
    operation: Operation
    area: tuple[float, float, float, float] | None
    """Where it is meant for: west, south, east, north in degrees; None means everywhere."""
    grids: bool
    """Whether it reads a grid file, which not every machine has."""
    ballpark: bool
    """Whether it only takes longitude and latitude over because the datum is not known."""

    poles: tuple[tuple[float, float, float], ...]
    """(latitude, x, y) of each pole that the CRS shows as one point, x and y in its unit."""

    @property
    def spread(self) -> float:
        """Size of the area in square degrees."""
        if self.area is None:
            return 360.0 * 180.0
        west, south, east, north = self.area
        return ((east - west) % 360 or 360.0) * (north - south)


def choose_candidate(
    crs: HorizontalCRS, policy: str, longitude: Floats, latitude: Floats
) -> Candidate:
    """The best operation for a raster of which these are some points, in degrees.

    The one that covers most of them; of those the most accurate, then the one made for the
    smallest area. Where none was made for any of the points, longitude and latitude are taken
    over as they are if PROJ offers that, and else the operation with the largest area is used.
    """
    found = list_candidates(crs, policy)
    exact = [candidate for candidate in found if not candidate.ballpark]
    shares = [_share_inside(candidate.area, longitude, latitude) for candidate in exact]
    if any(shares):
        return min(zip(exact, shares, strict=True), key=_rank)[0]
    return next((candidate for candidate in found if candidate.ballpark), found[0])


@lru_cache(maxsize=256)
def list_candidates(crs: HorizontalCRS, policy: str) -> tuple[Candidate, ...]:
    """Every operation that this machine can do under the policy, in PROJ's order.

    A pinned operation takes the place of all that need no grid.
    Raises UnsupportedCRS when there is no way to the earth, as from the CRS of another planet.
    """
    if policy not in POLICIES:
        raise ValueError(f"the CRS policy is {policy!r}; take one of {', '.join(POLICIES)}")
    # A grid from the network would make the outcome depend on the machine and on the day.
    set_network_enabled(False)
    found = [c for c in _list(crs) if policy != "lizard" or not c.grids]
    if not found:
        raise UnsupportedCRS(
            f"PROJ knows no way from {crs.crs.name!r} to WGS 84, it may belong to another "
            "celestial body; assign a CRS of the earth"
        )
    pinned = PINNED_OPERATIONS.get(crs.projection or "")
    rest = [c for c in found if c.grids]
    ours = [c for c in found if pinned is not None and c.operation.code == pinned]
    return (*ours, *rest) if ours else tuple(found)


def _list(crs: HorizontalCRS) -> list[Candidate]:
    try:
        with warnings.catch_warnings():
            # It tells of grids that are not installed, which is no news here.
            warnings.simplefilter("ignore", UserWarning)
            group = TransformerGroup(crs.crs, _WGS84, always_xy=True)
    except (ProjError, CRSError) as error:
        raise UnsupportedCRS(
            f"PROJ cannot take {crs.crs.name!r} to WGS 84; assign another CRS"
        ) from error
    return [_candidate(crs, transformer) for transformer in group.transformers]


def _candidate(crs: HorizontalCRS, transformer: Transformer) -> Candidate:
    area = transformer.area_of_use
    steps = transformer.operations or ()
    return Candidate(
        transformer=transformer,
        operation=_operation(transformer),
        area=None if area is None else (area.west, area.south, area.east, area.north),
        grids="grids=" in transformer.definition or "file=" in transformer.definition,
        ballpark=any(step.has_ballpark_transformation for step in steps),
        poles=() if crs.linear else tuple(_poles(crs, transformer)),
    )


def _poles(crs: HorizontalCRS, transformer: Transformer) -> Iterator[tuple[float, float, float]]:
    longitudes = np.array([-120.0, -60.0, 0.0, 60.0, 120.0])
    for latitude in (-90.0, 90.0):
        found = transformer.transform(
            longitudes, np.full(5, latitude), direction=TransformDirection.INVERSE
        )
        points = np.array(found)
        # PROJ gives inf, or numbers beyond all measure, for a pole that is not on the map.
        if not (np.abs(points) < 1e12).all():
            continue
        if np.ptp(points, axis=1).max() * crs.metres_per_unit > 1.0:
            continue
        x, y = points.mean(axis=1).tolist()
        _, back = transformer.transform(x, y)
        if abs(back - latitude) < 1e-6:
            yield latitude, x, y


def _operation(transformer: Transformer) -> Operation:
    """Named by its steps from datum to datum, or by the projection where the datum stays."""
    steps = [s for s in transformer.operations or () if not s.name.startswith(_AXES)]
    shifts = [s for s in steps if s.type_name != "Conversion"]
    codes = [code for code in map(_code, shifts) if code]
    return Operation(
        code="+".join(codes) if codes and len(codes) == len(shifts) else None,
        name=" + ".join(s.name for s in shifts or steps) or transformer.description,
        accuracy=transformer.accuracy if transformer.accuracy >= 0 else None,
        proj_version=pyproj.proj_version_str,
    )


def _code(step: object) -> str | None:
    identity = step.to_json_dict().get("id")  # type: ignore[attr-defined]
    if identity is None:
        return None
    # PROJ writes INVERSE(EPSG) for an operation that is used backwards.
    authority = re.sub(r"^INVERSE\((.*)\)$", r"\1", identity["authority"])
    return f"{authority}:{identity['code']}"


def _rank(pair: tuple[Candidate, float]) -> tuple[float, float, float]:
    candidate, share = pair
    accuracy = candidate.operation.accuracy
    return -share, inf if accuracy is None else accuracy, candidate.spread


def _share_inside(
    area: tuple[float, float, float, float] | None, longitude: Floats, latitude: Floats
) -> float:
    if area is None:
        return 1.0
    return np.count_nonzero(lies_within(area, longitude, latitude)) / max(len(longitude), 1)


def lies_within(
    area: tuple[float, float, float, float], longitude: Floats, latitude: Floats
) -> npt.NDArray[np.bool_]:
    """Which points lie in a box of degrees; its west may be greater than its east."""
    west, south, east, north = area
    width = (east - west) % 360 or 360.0
    return ((longitude - west) % 360 <= width) & (latitude >= south) & (latitude <= north)
