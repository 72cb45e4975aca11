"""Reads what GDAL's sidecar x.tif.aux.xml replaces in a file, as GDAL reads it too."""

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from pipeline.errors import NotAFile, NotFound, OverBudget, PermissionDenied, Unreadable
from pipeline.raster.file_access import OpenFile
from pipeline.raster.models import Budget, RasterWarning
from pipeline.raster.placement.crs_paths import require_no_path

WORLD_FILES = (".tfw", ".tifw", ".tiffw", ".wld", ".tab")

_OF_CRS = ("srs", "wkt", "projection")
"""Elements and attributes that hold a CRS, in small letters."""

_UNREADABLE = (NotAFile, NotFound, PermissionDenied, Unreadable)


@dataclass(frozen=True)
class AuxXML:
    """The part of an .aux.xml sidecar that goes before the file's own tags."""

    crs: bool = False
    """Whether it names a CRS, be it one that nobody understands."""
    transform: bool = False
    control_points: bool = False
    area_or_point: str | None = None
    """What it says of the pixels; None where it says nothing."""
    nodata: Mapping[int, str] = field(default_factory=dict)
    """Band, from 1, to the text of its nodata value."""
    warnings: tuple[RasterWarning, ...] = ()

    @property
    def places(self) -> bool:
        """Whether it says anything of where the raster lies."""
        return self.crs or self.transform or self.control_points


def read_aux_xml(opened: OpenFile, budget: Budget) -> AuxXML:
    """Raises OverBudget for a sidecar that is larger than a tag may be, UnsupportedCRS where its CRS names a path."""
    name = f"{opened.file.name}.aux.xml".lower()
    for sidecar in opened.file.sidecars:
        if sidecar.lower() == name:
            return _parsed(opened, sidecar, budget)
    return AuxXML()


def _parsed(opened: OpenFile, name: str, budget: Budget) -> AuxXML:
    try:
        with opened.beside(name) as file:
            if file.size > budget.tag_bytes:
                raise OverBudget(f"its sidecar {name} is too large; raise the budget for one tag")
            text = file.read(0, file.size, file.size)
        # expat bounds what entities may grow to, and the budget bounds the rest.
        root = ElementTree.fromstring(text)  # noqa: S314
        definitions = _definitions(text)
    except (*_UNREADABLE, OSError, ElementTree.ParseError) as error:
        opened.hide(name)  # GDAL may read a part of it
        warning = RasterWarning("sidecar_unreadable", f"the sidecar {name} is not read: {error}")
        return AuxXML(warnings=(warning,))
    for definition in definitions:
        require_no_path(definition)
    return AuxXML(
        crs=bool(root.findtext("SRS", "").strip() or _esri_crs(root) or _points_crs(root)),
        transform=bool(root.findtext("GeoTransform", "").strip()),
        control_points=root.find("GCPList/GCP") is not None
        or root.find(".//SourceGCPs") is not None,
        area_or_point=_area_or_point(root),
        nodata=_nodata(root),
    )


def _definitions(text: bytes) -> list[str]:
    """Every text that GDAL may take for a CRS. GDAL knows neither encodings nor entities nor the case of names.

    Raises ParseError for XML in which GDAL may see other elements.
    """
    if b"<!DOCTYPE" in text.upper():
        raise ElementTree.ParseError("it has a document type, which GDAL does not write")
    parser = ElementTree.XMLParser(encoding="latin-1")  # noqa: S314
    return [*_of_crs(ElementTree.fromstring(text.removeprefix(BOM_UTF8), parser))]  # noqa: S314


def _of_crs(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter():
        if element.tag.lower() in _OF_CRS:
            yield "".join(element.itertext())
        yield from (value for name, value in element.items() if name.lower() in _OF_CRS)


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
