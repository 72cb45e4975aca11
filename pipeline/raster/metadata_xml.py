"""Looks into the XML in which GDAL keeps a file's metadata: it says nothing of what it cannot read there."""

from dataclasses import dataclass
from xml.etree import ElementTree

from pipeline.raster.models import RasterWarning
from pipeline.raster.tiff import GDAL_METADATA, Directory


@dataclass(frozen=True)
class GDALMetadata:
    """What is looked at besides GDAL's own reading."""

    area_or_point: str | None = None
    """What it says of the pixels; None where it says nothing."""
    warnings: tuple[RasterWarning, ...] = ()


def read_gdal_metadata(main: Directory) -> GDALMetadata:
    """The tag GDAL_METADATA; a warning where it is not the XML that GDAL writes."""
    text = (main.text(GDAL_METADATA) or "").strip()
    if not text:
        return GDALMetadata()
    try:
        # expat bounds what entities may grow to, and the budget for one tag bounds the rest.
        root = ElementTree.fromstring(text)  # noqa: S314
    except ElementTree.ParseError as error:
        return _unreadable(f"is not XML ({error})")
    if root.tag.lower() != "gdalmetadata":
        return _unreadable(f"is XML of another kind ({root.tag[:40]!r})")
    for item in root.iter("Item"):
        if item.get("name") == "AREA_OR_POINT" and not item.get("domain"):
            return GDALMetadata(item.text)
    return GDALMetadata()


def _unreadable(why: str) -> GDALMetadata:
    text = f"its GDAL_METADATA {why}; times and descriptions in it may be lost"
    return GDALMetadata(warnings=(RasterWarning("metadata_unreadable", text),))
