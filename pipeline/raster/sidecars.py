"""Reads what GDAL's sidecar x.tif.aux.xml replaces in a file, as GDAL reads it too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from pipeline.errors import NotAFile, NotFound, OverBudget, PermissionDenied, Unreadable
from pipeline.raster.facts import Budget, Notice
from pipeline.raster.opened import Opened

WORLD_FILES = (".tfw", ".tifw", ".tiffw", ".wld", ".tab")

_UNREADABLE = (NotAFile, NotFound, PermissionDenied, Unreadable)


@dataclass(frozen=True)
class Auxiliary:
    """The part of an .aux.xml sidecar that goes before the file's own tags."""

    crs: bool = False
    """Whether it names a CRS, be it one that nobody understands."""
    transform: bool = False
    control_points: bool = False
    area_or_point: str | None = None
    """What it says of the pixels; None where it says nothing."""
    nodata: Mapping[int, str] = field(default_factory=dict)
    """Band, from 1, to the text of its nodata value."""
    notices: tuple[Notice, ...] = ()

    @property
    def places(self) -> bool:
        """Whether it says anything of where the raster lies."""
        return self.crs or self.transform or self.control_points


def read_auxiliary(opened: Opened, budget: Budget) -> Auxiliary:
    """Raises OverBudget for a sidecar that is larger than a tag may be."""
    name = f"{opened.file.name}.aux.xml".lower()
    for sidecar in opened.file.sidecars:
        if sidecar.lower() == name:
            return _parsed(opened, sidecar, budget)
    return Auxiliary()


def _parsed(opened: Opened, name: str, budget: Budget) -> Auxiliary:
    try:
        with opened.beside(name) as file:
            if file.size > budget.tag_bytes:
                raise OverBudget(f"its sidecar {name} is too large; raise the budget for one tag")
            text = file.read(0, file.size, file.size)
        # expat bounds what entities may grow to, and the budget bounds the rest.
        root = ElementTree.fromstring(text)  # noqa: S314
    except (*_UNREADABLE, OSError, ElementTree.ParseError) as error:
        opened.hide(name)  # GDAL may read a part of it
        notice = Notice("sidecar_unreadable", f"the sidecar {name} is not read: {error}")
        return Auxiliary(notices=(notice,))
    return Auxiliary(
        crs=bool(root.findtext("SRS", "").strip() or _esri_crs(root) or _points_crs(root)),
        transform=bool(root.findtext("GeoTransform", "").strip()),
        control_points=root.find("GCPList/GCP") is not None
        or root.find(".//SourceGCPs") is not None,
        area_or_point=_area_or_point(root),
        nodata=_nodata(root),
    )


def _esri_crs(root: ElementTree.Element) -> str:
    """What ArcGIS writes, alone or as metadata of GDAL's."""
    found = root if root.tag == "GeodataXform" else root.find(".//GeodataXform")
    return "" if found is None else found.findtext("SpatialReference/WKT", "").strip()


def _points_crs(root: ElementTree.Element) -> str:
    found = root.find("GCPList")
    return "" if found is None else found.get("Projection", "").strip()


def _area_or_point(root: ElementTree.Element) -> str | None:
    for item in root.iterfind("Metadata/MDI"):
        if item.get("key") == "AREA_OR_POINT":
            return item.text
    return None


def _nodata(root: ElementTree.Element) -> dict[int, str]:
    found = {}
    for band in root.iter("PAMRasterBand"):
        number, value = band.get("band", ""), band.findtext("NoDataValue")
        if value is not None and number.isdecimal():
            found[int(number)] = value
    return found
