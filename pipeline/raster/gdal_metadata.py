"""Reads the tag GDAL_METADATA, because GDAL does not report XML that it cannot read."""

from dataclasses import dataclass
from xml.etree import ElementTree

from pipeline.raster.models import RasterWarning
from pipeline.raster.tiff import GDAL_METADATA, Directory


@dataclass(frozen=True)
class GDALMetadata:
    """The parts of the tag that GDAL does not report reliably."""

    area_or_point: str | None = None
    """`Area` or `Point`; None where the tag does not have it."""
    warnings: tuple[RasterWarning, ...] = ()


def read_gdal_metadata(main: Directory) -> GDALMetadata:
    """Read the tag; return a warning where it is not the XML that GDAL writes."""
    text = (main.text(GDAL_METADATA) or "").strip()
    if not text:
        return GDALMetadata()
    try:
        # expat limits the growth of entities, and the budget for one tag limits the rest.
        root = ElementTree.fromstring(text)  # noqa: S314
    except ElementTree.ParseError as error:
        return _unreadable(f"is not XML ({error})")
    if root.tag.lower() != "gdalmetadata":
        return _unreadable(f"is another kind of XML ({root.tag[:40]!r})")
    for item in root.iter("Item"):
        if item.get("name") == "AREA_OR_POINT" and not item.get("domain"):
            return GDALMetadata(item.text)
    return GDALMetadata()


def _unreadable(reason: str) -> GDALMetadata:
    text = f"its GDAL_METADATA {reason}; times and descriptions in it may be lost"
    return GDALMetadata(warnings=(RasterWarning("metadata_unreadable", text),))
