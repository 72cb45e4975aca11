"""Reads the tag GDAL_METADATA, because GDAL does not report XML that it cannot parse."""

from xml.etree import ElementTree

from pipeline.raster.models import RasterWarning
from pipeline.raster.tiff import GDAL_METADATA, Directory


def read_area_or_point(main: Directory) -> tuple[str | None, tuple[RasterWarning, ...]]:
    """Return AREA_OR_POINT, `Area` or `Point` or None, and a warning if the tag is not the XML that GDAL writes."""
    text = (main.text(GDAL_METADATA) or "").strip()
    if not text:
        return None, ()
    try:
        # expat limits the expansion of entities, and the budget limits the size of the tag.
        root = ElementTree.fromstring(text)  # noqa: S314
    except ElementTree.ParseError as error:
        return _unreadable(f"is not XML ({error})")
    if root.tag.lower() != "gdalmetadata":
        return _unreadable(f"is another kind of XML ({root.tag[:40]!r})")
    for item in root.iter("Item"):
        if item.get("name") == "AREA_OR_POINT" and not item.get("domain"):
            return item.text, ()
    return None, ()


def _unreadable(reason: str) -> tuple[None, tuple[RasterWarning]]:
    text = f"its GDAL_METADATA {reason}; times and descriptions in it may be lost"
    return None, (RasterWarning("metadata_unreadable", text),)
