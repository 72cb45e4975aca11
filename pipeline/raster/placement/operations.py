"""Chooses the coordinate operation from the CRS of a raster to WGS 84."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any

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

Area = tuple[float, float, float, float]
"""West, south, east, north in degrees; west may be greater than east."""
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Number = float | Floats

POLICIES = ("lizard", "best-available")

PINNED_OPERATIONS = {
    # Amersfoort to WGS 84 (3). PROJ itself prefers (4), EPSG:4833, with the same accuracy and area; it is 6 mm off. The
    # existing Lizard records were computed with (3), which reproduces them to 7e-15 degrees.
    "EPSG:28992": "EPSG:15934"
}
"""CRS -> the operation that is used for it, even if PROJ prefers another one."""

_WGS84 = "EPSG:4326"
_AXES = "axis order change"
"""The beginning of the name of a step that only swaps axes."""
_POLE_LONGITUDES = (-120.0, -60.0, 0.0, 60.0, 120.0)
"""Longitudes in degrees; if they meet in one point at a pole, the pole is a point in the CRS."""
_MAX_POLE_COORDINATE = 1e12
"""Maximum coordinate of a pole; PROJ returns infinity or a larger number for a pole that is not on the map."""
_POLE_METRES = 1.0
_POLE_DEGREES = 1e-6
"""Tolerance in degrees for the points of a pole to coincide, and for the inverse to return to the pole."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One operation from a CRS to WGS 84."""

    transformer: Transformer
    """Transforms (x, y) to (longitude, latitude) in degrees."""
    operation: Operation
    area: Area | None
    """Area of use of the operation; None means everywhere."""
    grids: bool
    """Whether it needs a grid file; not every machine has one."""
    ballpark: bool
    """Whether it copies longitude and latitude unchanged because the datum is unknown."""
    poles: tuple[tuple[float, float, float], ...]
    """(latitude, x, y) of each pole that is a single point in the CRS; x and y are in its unit."""


def choose_candidates(
    crs: HorizontalCRS, policy: str, longitude: Floats, latitude: Floats
) -> list[Candidate]:
    """Return the best operation for each raster; a row of the arrays has its points in degrees, NaN off the earth.

    The best operation covers most points; among equals it is the most accurate, then the one with the smallest area. If
    no operation covers a point, it is the ballpark operation if PROJ has one, otherwise the first operation, which has
    the largest area.
    """
    candidates = list_candidates(crs, policy)
    exact = [candidate for candidate in candidates if not candidate.ballpark]
    other = next((candidate for candidate in candidates if candidate.ballpark), candidates[0])
    shares = [_shares_inside(candidate.area, longitude, latitude) for candidate in exact]
    return [
        min(zip(exact, row, strict=True), key=_rank)[0] if any(row) else other
        for row in (zip(*shares, strict=True) if exact else [()] * len(longitude))
    ]


@lru_cache(maxsize=256)
def list_candidates(crs: HorizontalCRS, policy: str) -> tuple[Candidate, ...]:
    """Return all operations that are available on this machine under the policy, in PROJ's order.

    A pinned operation replaces all operations without a grid file. Raises UnsupportedCRS if there is no operation to
    WGS 84, for example from the CRS of another planet.
    """
    if policy not in POLICIES:
        raise ValueError(f"the CRS policy is {policy!r}; use one of {', '.join(POLICIES)}")
    # With grids from the network the result would depend on the machine and the day.
    set_network_enabled(False)
    candidates = [c for c in _all_candidates(crs) if policy != "lizard" or not c.grids]
    if not candidates:
        raise UnsupportedCRS(
            f"PROJ has no operation from {crs.crs.name!r} to WGS 84, as for a CRS of another "
            "celestial body; assign a CRS of the earth"
        )
    code = PINNED_OPERATIONS.get(crs.projection or "")
    pinned = [c for c in candidates if code is not None and c.operation.code == code]
    return (*pinned, *(c for c in candidates if c.grids)) if pinned else tuple(candidates)


def _all_candidates(crs: HorizontalCRS) -> list[Candidate]:
    try:
        with warnings.catch_warnings():
            # pyproj warns of grids that are not installed.
            warnings.simplefilter("ignore", UserWarning)
            group = TransformerGroup(crs.crs, _WGS84, always_xy=True)
    except (ProjError, CRSError) as error:
        raise UnsupportedCRS(
            f"PROJ cannot convert {crs.crs.name!r} to WGS 84; assign another CRS"
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
    longitudes = np.array(_POLE_LONGITUDES)
    for latitude in (-90.0, 90.0):
        points = np.array(
            transformer.transform(
                longitudes, np.full(len(longitudes), latitude), direction=TransformDirection.INVERSE
            )
        )
        if not (np.abs(points) < _MAX_POLE_COORDINATE).all():
            continue
        if np.ptp(points, axis=1).max() * crs.metres_per_unit > _POLE_METRES:
            continue
        x, y = points.mean(axis=1).tolist()
        _, back = transformer.transform(x, y)
        if abs(back - latitude) < _POLE_DEGREES:
            yield latitude, x, y


def _operation(transformer: Transformer) -> Operation:
    """Return the operation; its name has the datum shifts, or the projection if the datum does not change."""
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
    # PROJ writes INVERSE(EPSG) for the inverse of an operation.
    authority = re.sub(r"^INVERSE\((.*)\)$", r"\1", identity["authority"])
    return f"{authority}:{identity['code']}"


def _rank(pair: tuple[Candidate, float]) -> tuple[float, float, float]:
    candidate, share = pair
    accuracy = candidate.operation.accuracy
    west, south, east, north = candidate.area or (-180.0, -90.0, 180.0, 90.0)
    square_degrees = ((east - west) % 360 or 360.0) * (north - south)
    return -share, inf if accuracy is None else accuracy, square_degrees


def _shares_inside(area: Area | None, longitude: Floats, latitude: Floats) -> list[float]:
    """Return for each row of points the share of its points on the earth that lie in an area."""
    if area is None:
        return [1.0] * len(longitude)
    with np.errstate(invalid="ignore"):  # NaN is not in any area
        inside = np.count_nonzero(lies_within(area, longitude, latitude), axis=1)
    on_earth = np.count_nonzero(np.isfinite(longitude), axis=1)
    shares: list[float] = (inside / np.maximum(on_earth, 1)).tolist()
    return shares


def lies_within(area: Area, longitude: Number, latitude: Number) -> Any:
    """Return whether a point lies in an area, or a boolean array for several points, in degrees."""
    west, south, east, north = area
    width = (east - west) % 360 or 360.0
    return ((longitude - west) % 360 <= width) & (latitude >= south) & (latitude <= north)
