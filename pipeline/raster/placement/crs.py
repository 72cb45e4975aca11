"""Understands a file's CRS: its horizontal part, its EPSG code where it truly has one, its axes."""

from dataclasses import dataclass, field
from functools import lru_cache
from math import degrees

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from pipeline.errors import MissingCRS, UnsupportedCRS
from pipeline.raster.models import RasterWarning
from pipeline.raster.placement.crs_paths import require_no_path

_BLANK_NAMES = (
    "unknown",
    "unnamed",
    "undefined",
    "undetermined",
    "custom",
    "user",
    "not available",
)
"""How programs call a datum that nobody specified; PROJ takes such a datum for equal to any other."""

_MOST_SHOWN = 80
"""Characters of a name; some programs put a whole definition there."""


@dataclass(frozen=True)
class Cycle:
    """How a CRS whose x runs around the earth repeats itself."""

    start: float
    """The x at which one turn begins, in the CRS's unit."""
    period: float
    """One turn, in the CRS's unit."""
    longitude: float | None
    """Degrees east of Greenwich at `start` where longitude grows linearly with x, else None."""


@dataclass(frozen=True)
class HorizontalCRS:
    """The two-dimensional CRS that a raster's x and y belong to."""

    wkt: str
    """WKT 2 (2019), without a vertical axis; a bound CRS stays bound when nothing better is known."""
    projection: str | None
    """`EPSG:n`, or None when no EPSG CRS has exactly these parameters and this datum."""
    crs: CRS = field(compare=False)
    """What operations start from: EPSG's own definition where `projection` says so."""
    degrees_per_unit: float | None = field(compare=False)
    """Of a geographic CRS, also a derived one such as a rotated pole; None when it is projected."""
    metres_per_unit: float = field(compare=False)
    """Of a projected CRS; the length of a degree of latitude stands in for geographic units."""
    central_longitude: float = field(compare=False)
    """Degrees east of Greenwich; the CRS's own longitudes run from 180 west to 180 east of it."""
    cycle: Cycle | None = field(compare=False)
    area: tuple[float, float, float, float] | None = field(compare=False)
    """Area of use: west, south, east, north in degrees; None where the CRS names none."""
    warnings: tuple[RasterWarning, ...] = field(compare=False)

    @property
    def linear(self) -> bool:
        """Whether longitude grows linearly with x, so that x tells how often it went around."""
        return self.cycle is not None and self.cycle.longitude is not None


@lru_cache(maxsize=512)
def horizontal_crs(wkt: str | None) -> HorizontalCRS:
    """The horizontal part of a CRS given as WKT of any kind.

    Raises MissingCRS, and UnsupportedCRS when PROJ does not understand it or it has no earth.
    """
    if not wkt:
        raise MissingCRS(
            "the raster has no CRS; say the right one, EPSG:CODE, as crs of its definition, of the command line or "
            "of the upload, or set it, for example with gdal_edit.py -a_srs EPSG:CODE FILE"
        )
    part = _horizontal_part(_parse(wkt))
    plain = _without_bound(part)
    if not (plain.is_geographic or plain.is_projected):
        raise UnsupportedCRS(
            f"the CRS {part.name[:_MOST_SHOWN]!r} ({part.type_name}) has no place on earth; assign a "
            "geographic or projected CRS, for example with gdal_edit.py -a_srs EPSG:CODE FILE"
        )
    code, warnings = _epsg_code(plain)
    return _frame(part if code is None else plain, code, warnings)


def _parse(wkt: str) -> CRS:
    require_no_path(wkt)
    try:
        return CRS.from_user_input(wkt)
    except CRSError as error:
        raise UnsupportedCRS(
            "PROJ does not understand the raster's CRS; assign one that it knows, "
            "for example with gdal_edit.py -a_srs EPSG:CODE FILE"
        ) from error


def _horizontal_part(crs: CRS) -> CRS:
    if crs.is_compound:
        return _horizontal_part(crs.sub_crs_list[0])
    return crs.to_2d() if len(crs.axis_info) == 3 and not crs.is_geocentric else crs


def _without_bound(crs: CRS) -> CRS:
    """A CRS without the datum shift that the file attaches to it."""
    return crs.source_crs if crs.is_bound and crs.source_crs is not None else crs


def _frame(crs: CRS, code: int | None, warnings: tuple[RasterWarning, ...]) -> HorizontalCRS:
    own = crs if code is None else CRS.from_epsg(code)
    plain = _without_bound(own)
    area = plain.area_of_use
    unit = plain.axis_info[0].unit_conversion_factor
    geographic = plain.is_geographic
    central = _central_longitude(plain)
    return HorizontalCRS(
        wkt=crs.to_wkt(),
        projection=None if code is None else f"EPSG:{code}",
        crs=own,
        degrees_per_unit=degrees(unit) if geographic else None,
        metres_per_unit=degrees(unit) * 111_195.0 if geographic else unit,
        central_longitude=central,
        cycle=_geographic_cycle(plain) if geographic else _projected_cycle(plain, central),
        area=None if area is None else (area.west, area.south, area.east, area.north),
        warnings=warnings,
    )


def _epsg_code(crs: CRS) -> tuple[int | None, tuple[RasterWarning, ...]]:
    """The EPSG code that the CRS names and keeps to, or that agrees with it in every parameter."""
    named = crs.to_json_dict().get("id")
    if named is not None and named["authority"] == "EPSG":
        code = int(named["code"])
        return (code, ()) if _is_epsg(crs, code) else (None, (_differs(code),))
    if named is not None and named["authority"] != "OGC":
        return None, ()
    # Without a code the name may still be another authority's, whose parameters equal those of
    # an EPSG CRS, such as ESRI:102039 and EPSG:5070: the file then says that it is the former.
    exact = {match.auth_name for match in crs.list_authority(min_confidence=100)}
    if exact - {"OGC"} and "EPSG" not in exact:
        return None, ()
    return next((code for code in _similar(crs) if _is_epsg(crs, code)), None), ()


def _similar(crs: CRS) -> list[int]:
    """Codes of the EPSG CRSs that PROJ finds similar, best first; some are similar in name only."""
    found = crs.list_authority("EPSG", min_confidence=20)
    if not found and crs.is_geographic:
        # PROJ does not look behind longitude before latitude, which EPSG does not have.
        definition = crs.to_json_dict()
        definition["coordinate_system"]["axis"].reverse()
        definition.pop("id", None)
        found = CRS.from_json_dict(definition).list_authority("EPSG", min_confidence=20)
    return [int(match.code) for match in found]


@lru_cache(maxsize=512)
def code_warnings(wkt: str, code: int) -> tuple[RasterWarning, ...]:
    """For a file that names an EPSG code of which GDAL, which made the WKT of it, found other parameters there."""
    if not _exists(code):
        return ()
    projection, named = horizontal_crs(wkt).projection, CRS.from_epsg(code)
    if projection == f"EPSG:{code}" or (projection and named.is_deprecated):
        return ()  # GDAL takes the successor of a deprecated code
    found = _without_bound(_horizontal_part(_parse(wkt)))
    return () if _is_same(found, _horizontal_part(named)) else (_differs(code),)


def _exists(code: int) -> bool:
    try:
        CRS.from_epsg(code)
    except CRSError:
        return False
    return True


def _differs(code: int) -> RasterWarning:
    return RasterWarning(
        "crs_differs_from_code",
        f"the file names EPSG:{code}, but its parameters are not those of EPSG:{code}; "
        "the parameters were used",
    )


def _is_epsg(crs: CRS, code: int) -> bool:
    """Whether every parameter is that of the EPSG CRS; the order of the axes does not matter.

    Rasters keep x before y whatever their CRS says.
    """
    return _exists(code) and _is_same(crs, CRS.from_epsg(code))


def _is_same(crs: CRS, official: CRS) -> bool:
    if _datum_is_blank(crs):
        return False
    return crs.equals(official, ignore_axis_order=True) or _same_projection(crs, official)


def _datum_is_blank(crs: CRS) -> bool:
    name = "" if crs.datum is None else crs.datum.name
    return not name or name.lower().replace("_", " ").startswith(_BLANK_NAMES)


def _same_projection(one: CRS, other: CRS) -> bool:
    """Equality of projected CRSs that list their axes in another order."""
    if not (one.type_name == other.type_name == "Projected CRS"):
        return False
    base = one.geodetic_crs
    return (
        base is not None
        and base.equals(other.geodetic_crs, ignore_axis_order=True)
        and one.coordinate_operation == other.coordinate_operation
        and _axes(one) == _axes(other)
    )


def _axes(crs: CRS) -> set[tuple[str, float]]:
    return {(axis.direction, axis.unit_conversion_factor) for axis in crs.axis_info}


def _central_longitude(crs: CRS) -> float:
    """Degrees east of Greenwich of the projection's central meridian; 0 where it has none."""
    prime = 0.0
    if crs.prime_meridian is not None:
        meridian = crs.prime_meridian
        prime = degrees(float(meridian.longitude) * float(meridian.unit_conversion_factor))
    conversion = crs.coordinate_operation
    if conversion is None:
        return prime
    for parameter in conversion.params:
        if parameter.name.lower().startswith("longitude of") and crs.is_projected:
            return prime + degrees(float(parameter.value) * parameter.unit_conversion_factor)
    return prime


def _geographic_cycle(crs: CRS) -> Cycle:
    """One turn from 180 west to 180 east of the prime meridian."""
    half = 180.0 / degrees(crs.axis_info[0].unit_conversion_factor)
    # On a rotated pole x repeats as well, but longitude does not follow it.
    longitude = None if crs.is_derived else _central_longitude(crs) - 180.0
    return Cycle(-half, 2 * half, longitude)


def _projected_cycle(crs: CRS, central: float) -> Cycle | None:
    """One turn of a cylindrical projection with straight meridians; None for the others.

    Found by trying: x must grow by the same amount for every 45 degrees on two parallels.
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
    # A longitude that passed 180 degrees may come back on the other side of the map.
    step = x[1] - x[0]
    expected = x[0] + np.array([0, 1, 2, 3] * 2) * step
    turns = np.abs(x - expected) / (8 * abs(step)) if step else np.full(8, 0.5)
    if np.abs(turns - np.rint(turns)).max() > 1e-9:
        return None
    return Cycle(float(x[0] - 4 * step), float(8 * step), central - 180.0)
