"""Reads what GDAL's sidecar x.tif.aux.xml replaces in a file, as GDAL reads it too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from pipeline.errors import OverBudget
from pipeline.raster.facts import Budget, Notice
from pipeline.storage import StoredFile


@dataclass(frozen=True)
class Auxiliary:
    """The part of an .aux.xml sidecar that goes before the file's own tags."""

    crs: bool = False
    """Whether it names a CRS."""
    transform: bool = False
    nodata: Mapping[int, str] = field(default_factory=dict)
    """Band, from 1, to the text of its nodata value."""
    notices: tuple[Notice, ...] = ()


def read_auxiliary(file: StoredFile, budget: Budget) -> Auxiliary:
    """Raises OverBudget for a sidecar that is larger than a tag may be."""
    name = f"{file.path.name}.aux.xml".lower()
    for sidecar in file.sidecars:
        if sidecar.lower() == name:
            return _parsed(file.path.with_name(sidecar), budget)
    return Auxiliary()


def _parsed(path: Path, budget: Budget) -> Auxiliary:
    try:
        with path.open("rb") as stream:
            text = stream.read(budget.tag_bytes + 1)
        if len(text) > budget.tag_bytes:
            raise OverBudget(f"its sidecar {path.name} is too large; raise the budget for one tag")
        # expat bounds what entities may grow to, and the budget bounds the rest.
        root = ElementTree.fromstring(text)  # noqa: S314
    except (OSError, ElementTree.ParseError) as error:
        notice = Notice("sidecar_unreadable", f"the sidecar {path.name} is not read: {error}")
        return Auxiliary(notices=(notice,))
    return Auxiliary(
        crs=bool(root.findtext("SRS", "").strip()),
        transform=bool(root.findtext("GeoTransform", "").strip()),
        nodata=_nodata(root),
    )


def _nodata(root: ElementTree.Element) -> dict[int, str]:
    found = {}
    for band in root.iter("PAMRasterBand"):
        number, value = band.get("band", ""), band.findtext("NoDataValue")
        if value is not None and number.isdecimal():
            found[int(number)] = value
    return found
