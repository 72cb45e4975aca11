"""Reads the header of a file with our own code, before GDAL opens the file: tags, sidecars and layout."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from pipeline.errors import RasterError, UnsupportedDtype
from pipeline.raster.aux_xml import AuxXML, read_aux_xml
from pipeline.raster.budget import Budget
from pipeline.raster.file_access import OpenFile
from pipeline.raster.grid_tags import WORLD_FILES, grid_origin
from pipeline.raster.integrity import check_integrity, find_lost_tags
from pipeline.raster.layout import describe_layout
from pipeline.raster.models import Layout, RasterWarning
from pipeline.raster.tiff import BITS_PER_SAMPLE, SAMPLE_FORMAT, Directory, read_directories

_COMPLEX_INTEGER = 5
"""The value of SampleFormat for complex integers (technical note to TIFF 6.0)."""
_ERDAS_MAGIC = b"EHFA_HEADER_TAG"


@dataclass(frozen=True)
class Header:
    """An open file with everything that our own code read from it and its sidecars."""

    open_file: OpenFile
    directories: Sequence[Directory]
    """The IFDs of the image, its overviews and its masks."""
    aux_xml: AuxXML
    layout: Layout
    pixel_sidecars: Sequence[str]
    """Names of the readable sidecars with overviews and masks."""
    warnings: Sequence[RasterWarning]
    georeference_sources: str
    """GDAL_GEOREF_SOURCES: the sources from which GDAL may read grid and CRS; empty means all."""

    @property
    def main(self) -> Directory:
        """The IFD of the image."""
        return self.directories[0]


def read_header(open_file: OpenFile, budget: Budget) -> Header:
    """Read the header, and check that the file is complete. Raises a RasterError."""
    directories = read_directories(open_file.reader, budget)
    main = directories[0]
    check_integrity(directories, budget)
    _require_numpy_type(main)
    aux_xml = read_aux_xml(open_file, budget)
    layout, warnings, pixel_sidecars = _read_layout(open_file, directories, budget)
    warnings += find_lost_tags(directories)
    sources = _georeference_sources(main, aux_xml, open_file.stored.sidecars)
    if sources:
        aux_xml = replace(aux_xml, crs=False)
    return Header(open_file, directories, aux_xml, layout, pixel_sidecars, warnings, sources)


def _require_numpy_type(main: Directory) -> None:
    """Raise UnsupportedDtype for pixels without a numpy type, because GDAL would fail to open the file."""
    bits, formats = main.integers(BITS_PER_SAMPLE), main.integers(SAMPLE_FORMAT)
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        raise UnsupportedDtype("its bands have different types; write one file for each type")
    if _COMPLEX_INTEGER in formats:
        raise UnsupportedDtype("numpy has no complex integers; convert it to complex64")


def _read_layout(
    open_file: OpenFile, directories: Sequence[Directory], budget: Budget
) -> tuple[Layout, list[RasterWarning], list[str]]:
    """Return the layout, warnings about broken .ovr and .msk sidecars, and the names of the readable sidecars."""
    by_name = {sidecar.lower(): sidecar for sidecar in open_file.stored.sidecars}
    warnings: list[RasterWarning] = []
    readable: list[str] = []
    external: dict[str, tuple[Directory, ...]] = {}
    for suffix, code in ((".ovr", "broken_overviews"), (".msk", "sidecar_unreadable")):
        if sidecar := by_name.get(f"{open_file.stored.name}{suffix}".lower()):
            try:
                images = read_directories(open_file.sidecar(sidecar), budget)
                check_integrity(images[:1], budget)
            except RasterError as error:
                text = f"its sidecar {sidecar} is not read: {error.message}"
                warnings.append(RasterWarning(code, text))
            else:
                external[suffix] = images
                readable.append(sidecar)
    layout = describe_layout(directories, external.get(".ovr", ()), ".msk" in external)
    if layout.mask:
        text = f"a mask ({layout.mask}) marks its valid pixels"
        warnings.append(RasterWarning("mask", text))
    return layout, warnings, readable


def _georeference_sources(main: Directory, aux_xml: AuxXML, sidecars: Sequence[str]) -> str:
    """Return GDAL_GEOREF_SOURCES for a file.

    Otherwise GDAL would hide the CRS of the grid in the file if the .aux.xml has control points but no grid.
    """
    if not aux_xml.control_points or aux_xml.transform:
        return ""
    has_world_file = any(name.lower().endswith(WORLD_FILES) for name in sidecars)
    has_grid = grid_origin(main) is not None or has_world_file
    return "INTERNAL,TABFILE,WORLDFILE" if has_grid else ""


def find_erdas_sidecars(open_file: OpenFile) -> list[RasterWarning]:
    """Return a warning for each .aux sidecar of ERDAS, which needs another driver."""
    warnings = []
    for name in open_file.stored.sidecars:
        if name.lower().endswith(".aux") and _starts_with(open_file, name, _ERDAS_MAGIC):
            text = f"the sidecar {name} was not read, because it has the format of ERDAS; save it as .aux.xml"
            warnings.append(RasterWarning("sidecar_unreadable", text))
    return warnings


def _starts_with(open_file: OpenFile, sidecar: str, magic: bytes) -> bool:
    with suppress(RasterError):
        return open_file.sidecar(sidecar).read(0, len(magic), len(magic)) == magic
    return False
