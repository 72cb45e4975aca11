"""Interprets the CRS of a file: its horizontal part, its EPSG code if that is exact, and its axes."""

from dataclasses import dataclass, field
from functools import lru_cache
from math import degrees

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from pipeline.errors import MissingCRS, UnsupportedCRS
from pipeline.raster.models import RasterWarning
from pipeline.raster.placement.crs_paths import require_no_path

_BLANK_DATUM_NAMES = (
    *("unknown", "unnamed", "undefined", "undetermined"),
    *("custom", "user", "not available"),
)
"""Prefixes of names for an unspecified datum; PROJ treats such a datum as equal to any other."""
_MAX_NAME_SHOWN = 80
"""Maximum number of characters of a name in a message; some programs store a whole definition in a name."""
_METRES_PER_DEGREE = 111_195.0
"""Metres per degree of latitude on a sphere with the earth's mean radius."""
_MIN_SIMILARITY = 20
"""Minimum confidence, from 0 to 100, of the EPSG CRSs that PROJ proposes; these are then compared exactly."""
_LINEAR_TURNS = 1e-9
"""Tolerance, in turns around the earth, for x to be a linear function of longitude."""


@dataclass(frozen=True)
class Cycle:
    """The period of a CRS with a periodic x."""

    start: float
    """The x at which a period begins, in the unit of the CRS."""
    period: float
    """One turn around the earth in the unit of the CRS."""
    longitude: float | None
    """Degrees east of Greenwich at `start` if longitude is linear in x, otherwise None."""


@dataclass(frozen=True)
class HorizontalCRS:
    """The two-dimensional CRS of a raster's x and y."""

    wkt: str
    """WKT 2 (2019) without a vertical axis; a bound CRS stays bound unless it has an EPSG code."""
    projection: str | None
    """`EPSG:n`; None if no EPSG CRS has exactly these parameters and this datum."""
    crs: CRS = field(compare=False)
    """The source CRS of operations: EPSG's definition if there is a `projection`."""
    degrees_per_unit: float | None = field(compare=False)
    """Degrees per unit of a geographic CRS, including a derived one such as a rotated pole; None if it is projected."""
    metres_per_unit: float = field(compare=False)
    """Metres per unit of a projected CRS; for a geographic CRS, those of a unit of latitude."""
    central_longitude: float = field(compare=False)
    """Degrees east of Greenwich; the longitudes of the CRS run from 180 west to 180 east of it."""
    cycle: Cycle | None = field(compare=False)
    area: tuple[float, float, float, float] | None = field(compare=False)
    """Area of use: west, south, east, north in degrees; None if the CRS has none."""
    warnings: tuple[RasterWarning, ...] = field(compare=False)

    @property
    def linear(self) -> bool:
        """Whether longitude is linear in x, so that x determines the number of turns."""
        return self.cycle is not None and self.cycle.longitude is not None

    @property
    def label(self) -> str:
        """The EPSG code, or the quoted name."""
        return self.projection or repr(self.crs.name[:_MAX_NAME_SHOWN])

    def is_same(self, other: "HorizontalCRS") -> bool:
        """Return whether the two are the same CRS, regardless of the order of their axes."""
        if self.projection or other.projection:
            return self.projection == other.projection
        return bool(self.crs.equals(other.crs, ignore_axis_order=True))


@lru_cache(maxsize=512)
def horizontal_crs(wkt: str | None) -> HorizontalCRS:
    """Return the horizontal part of a CRS given as WKT of any kind.

    Raises MissingCRS for None, and UnsupportedCRS if PROJ cannot parse it or it is not a CRS of the earth.
    """
    if not wkt:
        raise MissingCRS(
            "the raster has no CRS; give the right one, EPSG:CODE, as crs in its definition, on the command line or "
            "with the upload, or set it in the file, for example with gdal_edit.py -a_srs EPSG:CODE FILE"
        )
    part = _horizontal_part(_parse(wkt))
    unbound = _unbound(part)
    if not (unbound.is_geographic or unbound.is_projected):
        raise UnsupportedCRS(
            f"the CRS {part.name[:_MAX_NAME_SHOWN]!r} ({part.type_name}) has no place on earth; assign a "
            "geographic or projected CRS, for example with gdal_edit.py -a_srs EPSG:CODE FILE"
        )
    code, warnings = _epsg_code(unbound)
    return _describe_crs(part if code is None else unbound, code, warnings)


def _parse(wkt: str) -> CRS:
    require_no_path(wkt)
    try:
        return CRS.from_user_input(wkt)
    except CRSError as error:
        raise UnsupportedCRS(
            "PROJ cannot parse the CRS of the raster; assign a CRS that PROJ has, "
            "for example with gdal_edit.py -a_srs EPSG:CODE FILE"
        ) from error


def _horizontal_part(crs: CRS) -> CRS:
    if crs.is_compound:
        return _horizontal_part(crs.sub_crs_list[0])
    return crs.to_2d() if len(crs.axis_info) == 3 and not crs.is_geocentric else crs


def _unbound(crs: CRS) -> CRS:
    """Return the CRS without the datum shift that the file adds to it."""
    return crs.source_crs if crs.is_bound and crs.source_crs is not None else crs


def _describe_crs(crs: CRS, code: int | None, warnings: tuple[RasterWarning, ...]) -> HorizontalCRS:
    exact = crs if code is None else CRS.from_epsg(code)
    unbound = _unbound(exact)
    area = unbound.area_of_use
    unit = unbound.axis_info[0].unit_conversion_factor
    geographic = unbound.is_geographic
    central = _central_longitude(unbound)
    return HorizontalCRS(
        wkt=crs.to_wkt(),
        projection=None if code is None else f"EPSG:{code}",
        crs=exact,
        degrees_per_unit=degrees(unit) if geographic else None,
        metres_per_unit=degrees(unit) * _METRES_PER_DEGREE if geographic else unit,
        central_longitude=central,
        cycle=_geographic_cycle(unbound) if geographic else _projected_cycle(unbound, central),
        area=None if area is None else (area.west, area.south, area.east, area.north),
        warnings=warnings,
    )


def _epsg_code(crs: CRS) -> tuple[int | None, tuple[RasterWarning, ...]]:
    """Return the EPSG code that the CRS names and agrees with, or whose parameters all equal its own."""
    named = crs.to_json_dict().get("id")
    if named is not None and named["authority"] == "EPSG":
        code = int(named["code"])
        return (code, ()) if _equals_epsg(crs, code) else (None, (_differs_warning(code),))
    if named is not None and named["authority"] != "OGC":
        return None, ()
    # Without a code the name may be another authority's. The file then means that CRS, even where the parameters
    # equal those of an EPSG CRS, as with ESRI:102039 and EPSG:5070.
    exact = {match.auth_name for match in crs.list_authority(min_confidence=100)}
    if exact - {"OGC"} and "EPSG" not in exact:
        return None, ()
    return next((code for code in _similar_codes(crs) if _equals_epsg(crs, code)), None), ()


def _similar_codes(crs: CRS) -> list[int]:
    """Return codes of the EPSG CRSs that PROJ finds similar, the best first; some are similar only in name."""
    matches = crs.list_authority("EPSG", min_confidence=_MIN_SIMILARITY)
    if not matches and crs.is_geographic:
        # EPSG has no CRS with longitude first, and PROJ does not try the other order.
        definition = crs.to_json_dict()
        definition["coordinate_system"]["axis"].reverse()
        definition.pop("id", None)
        swapped = CRS.from_json_dict(definition)
        matches = swapped.list_authority("EPSG", min_confidence=_MIN_SIMILARITY)
    return [int(match.code) for match in matches]


@lru_cache(maxsize=512)
def code_warnings(wkt: str, code: int) -> tuple[RasterWarning, ...]:
    """Return a warning if the WKT that GDAL made from the keys differs from their EPSG code."""
    if not _exists(code):
        return ()
    projection, named = horizontal_crs(wkt).projection, CRS.from_epsg(code)
    if projection == f"EPSG:{code}" or (projection and named.is_deprecated):
        return ()  # GDAL replaces a deprecated code by its successor
    own = _unbound(_horizontal_part(_parse(wkt)))
    return () if _equals_official(own, _horizontal_part(named)) else (_differs_warning(code),)


def _exists(code: int) -> bool:
    try:
        CRS.from_epsg(code)
    except CRSError:
        return False
    return True


def _differs_warning(code: int) -> RasterWarning:
    return RasterWarning(
        "crs_differs_from_code",
        f"the file names EPSG:{code}, but its parameters are not those of EPSG:{code}; "
        "the parameters were used",
    )


def _equals_epsg(crs: CRS, code: int) -> bool:
    """Return whether all parameters equal those of the EPSG CRS.

    The order of the axes is ignored, because rasters always have x before y.
    """
    return _exists(code) and _equals_official(crs, CRS.from_epsg(code))


def _equals_official(crs: CRS, official: CRS) -> bool:
    if _has_blank_datum(crs):
        return False
    return crs.equals(official, ignore_axis_order=True) or _is_same_projection(crs, official)


def _has_blank_datum(crs: CRS) -> bool:
    name = "" if crs.datum is None else crs.datum.name
    return not name or name.lower().replace("_", " ").startswith(_BLANK_DATUM_NAMES)


def _is_same_projection(crs: CRS, other: CRS) -> bool:
    """Return whether two projected CRSs are equal, apart from the order of their axes."""
    if not (crs.type_name == other.type_name == "Projected CRS"):
        return False
    base = crs.geodetic_crs
    return (
        base is not None
        and base.equals(other.geodetic_crs, ignore_axis_order=True)
        and crs.coordinate_operation == other.coordinate_operation
        and _axes(crs) == _axes(other)
    )


def _axes(crs: CRS) -> set[tuple[str, float]]:
    return {(axis.direction, axis.unit_conversion_factor) for axis in crs.axis_info}


def _central_longitude(crs: CRS) -> float:
    """Return the central meridian of the projection in degrees east of Greenwich; without one, the prime meridian."""
    prime = 0.0
    if crs.prime_meridian is not None:
        meridian = crs.prime_meridian
        prime = degrees(float(meridian.longitude) * float(meridian.unit_conversion_factor))
    if crs.coordinate_operation is None or not crs.is_projected:
        return prime
    for parameter in crs.coordinate_operation.params:
        if parameter.name.lower().startswith("longitude of"):
            return prime + degrees(float(parameter.value) * parameter.unit_conversion_factor)
    return prime


def _geographic_cycle(crs: CRS) -> Cycle:
    """Return the period from 180 west to 180 east of the prime meridian."""
    half = 180.0 / degrees(crs.axis_info[0].unit_conversion_factor)
    # With a rotated pole x is periodic too, but longitude is not linear in it.
    longitude = None if crs.is_derived else _central_longitude(crs) - 180.0
    return Cycle(-half, 2 * half, longitude)


def _projected_cycle(crs: CRS, central: float) -> Cycle | None:
    """Return the period of a cylindrical projection with straight meridians; None for other projections.

    It tests that x increases by the same amount for every 45 degrees on two parallels.
    """
    base = crs.geodetic_crs
    if base is None:
        return None
    to_degrees = degrees(base.axis_info[0].unit_conversion_factor)
    own_central = central - _central_longitude(base)
    longitudes = np.array([0.0, 45.0, 90.0, 135.0] * 2) + own_central
    latitudes = np.repeat([0.0, 45.0], 4)
    try:
        forward = Transformer.from_crs(base, crs, always_xy=True)
    except ProjError as error:
        raise UnsupportedCRS(
            f"PROJ cannot compute the projection of {crs.name!r}; assign another CRS"
        ) from error
    x, _ = forward.transform(((longitudes + 180) % 360 - 180) / to_degrees, latitudes / to_degrees)
    if not np.isfinite(x).all():
        return None
    # A longitude beyond 180 degrees may lie on the other side of the map.
    step = x[1] - x[0]
    expected = x[0] + np.array([0, 1, 2, 3] * 2) * step
    turns = np.abs(x - expected) / (8 * abs(step)) if step else np.full(8, 0.5)
    if np.abs(turns - np.rint(turns)).max() > _LINEAR_TURNS:
        return None
    return Cycle(float(x[0] - 4 * step), float(8 * step), central - 180.0)
