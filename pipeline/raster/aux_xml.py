"""Reads the sidecar x.tif.aux.xml: the values in it that replace those of the file, as GDAL does."""

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from pipeline.errors import NotAFile, NotFound, PermissionDenied, Unreadable
from pipeline.raster.budget import Budget
from pipeline.raster.file_access import OpenFile, require_small_sidecar
from pipeline.raster.models import RasterWarning
from pipeline.raster.placement.crs_paths import require_no_path

_CRS_NAMES = ("srs", "wkt", "projection")
"""Elements and attributes that hold a CRS, in lower case."""

_UNREADABLE = (NotAFile, NotFound, PermissionDenied, Unreadable, OSError, ElementTree.ParseError)


@dataclass(frozen=True)
class AuxXML:
    """The contents of an .aux.xml sidecar that take precedence over the tags of the file."""

    crs: bool = False
    """Whether it names a CRS, readable or not."""
    transform: bool = False
    control_points: bool = False
    area_or_point: str | None = None
    nodata: Mapping[int, str] = field(default_factory=dict)
    """Band, counted from 1 -> text of its nodata value."""
    warnings: tuple[RasterWarning, ...] = ()


def read_aux_xml(open_file: OpenFile, budget: Budget) -> AuxXML:
    """Read the sidecar. If it is not XML, hide it from GDAL and return a warning.

    Raises OverBudget for a sidecar larger than a tag may be, UnsupportedCRS if its CRS names a path.
    """
    name = f"{open_file.stored.name}.aux.xml".lower()
    for sidecar in open_file.stored.sidecars:
        if sidecar.lower() == name:
            return _parse_sidecar(open_file, sidecar, budget)
    return AuxXML()


def _parse_sidecar(open_file: OpenFile, name: str, budget: Budget) -> AuxXML:
    try:
        reader = open_file.sidecar(name)
        require_small_sidecar(name, reader.size, budget)
        text = reader.read(0, reader.size, reader.size)
        # expat limits the expansion of entities, and the budget limits the size.
        root = ElementTree.fromstring(text)  # noqa: S314
        crs_texts = [*_crs_texts(text)]
    except _UNREADABLE as error:
        open_file.hide_sidecar(name)  # GDAL may read parts of it
        warning = RasterWarning("sidecar_unreadable", f"the sidecar {name} is not read: {error}")
        return AuxXML(warnings=(warning,))
    for crs_text in crs_texts:
        require_no_path(crs_text)
    esri = root if root.tag == "GeodataXform" else root.find(".//GeodataXform")
    points = root.find("GCPList")
    crs = (
        root.findtext("SRS", ""),
        "" if esri is None else esri.findtext("SpatialReference/WKT", ""),  # ArcGIS
        "" if points is None else points.get("Projection", ""),
    )
    return AuxXML(
        crs=any(text.strip() for text in crs),
        transform=bool(root.findtext("GeoTransform", "").strip()),
        control_points=root.find("GCPList/GCP") is not None
        or root.find(".//SourceGCPs") is not None,
        area_or_point=root.findtext("Metadata/MDI[@key='AREA_OR_POINT']"),
        nodata={
            int(band.get("band", "")): value
            for band in root.iter("PAMRasterBand")
            if (value := band.findtext("NoDataValue")) is not None
            and band.get("band", "").isdecimal()
        },
    )


def _crs_texts(text: bytes) -> Iterator[str]:
    """Yield every text that GDAL may parse as a CRS; GDAL ignores encodings, entities and the case of names.

    Raises ParseError for XML in which GDAL may find other elements.
    """
    if b"<!DOCTYPE" in text.upper():
        raise ElementTree.ParseError("it has a document type, which GDAL does not write")
    parser = ElementTree.XMLParser(encoding="latin-1")  # noqa: S314
    for element in ElementTree.fromstring(text.removeprefix(BOM_UTF8), parser).iter():  # noqa: S314
        if element.tag.lower() in _CRS_NAMES:
            yield "".join(element.itertext())
        yield from (value for name, value in element.items() if name.lower() in _CRS_NAMES)
