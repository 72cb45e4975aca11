"""Describes an open GeoTIFF, with its sidecars: grid, CRS, bands and times."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import WktVersion
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from pipeline.errors import RasterError, UnsupportedDtype
from pipeline.raster.aux_xml import AuxXML
from pipeline.raster.gdal_metadata import read_area_or_point
from pipeline.raster.geo_keys import Keys, epsg_code, find_ignored_keys, names_crs, read_keys
from pipeline.raster.grid_tags import WORLD_FILES, grid_origin, lacks_tie_point
from pipeline.raster.header import Header
from pipeline.raster.models import ControlPoint, FileCRS, Grid, Placement, RasterWarning
from pipeline.raster.nodata import Nodata, parse_nodata
from pipeline.raster.open_dataset import unreadable_crs_error
from pipeline.raster.placement.crs import code_warnings
from pipeline.raster.tiff import (
    BITS_PER_SAMPLE,
    DATETIME,
    GDAL_METADATA,
    GDAL_NODATA,
    GEO_KEY_DIRECTORY,
    MODEL_TIEPOINT,
    SAMPLE_FORMAT,
    Directory,
)
from pipeline.raster.times.band_times import TimeText, acquisition_time, band_time, file_time
from pipeline.raster.times.timestamps import TimeTags

_DTYPES = {
    name: np.dtype(name).str[1:]
    for name in (
        *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
}
_WHOLE_BITS = (8, 16, 32, 64, 128)
"""The numbers of bits per sample for which numpy has a type."""
_FLOAT = 3
"""The value of SampleFormat for floating-point pixels (TIFF 6.0)."""

_ACQUIRED = "ACQUISITIONDATETIME"
_EPOCH = "1970-01-01 00:00:00"
"""GDAL's value for an unreadable time in the metadata of a satellite product."""
_LOCAL_CRS = ("ENGCRS", "LOCAL_CS")


class Description(NamedTuple):
    """The contents of a header, before the raster is placed and dated."""

    placement: Placement
    dtype: str
    nodata: tuple[Nodata, ...]
    """One for each band."""
    descriptions: tuple[str | None, ...]
    """One for each band."""
    times: TimeTags
    warnings: tuple[RasterWarning, ...]
    provenance: dict[str, str]


@dataclass(frozen=True)
class ImageFacts:
    """Facts about pixels and bands, as GDAL reads them."""

    dtype: str
    """numpy code."""
    nodata: Sequence[float | None]
    """One for each band."""
    metadata: dict[str, str]
    """Metadata of the whole file."""
    imagery: dict[str, str]
    """Metadata in the domain IMAGERY."""
    bands: Sequence[dict[str, str]]
    """Metadata of each band."""
    descriptions: tuple[str | None, ...]
    """One for each band."""
    warnings: tuple[RasterWarning, ...] = ()


def describe_dataset(
    dataset: DatasetReader, header: Header, sidecars: Sequence[str], placement: Placement | None
) -> Description:
    """Describe the first image as GDAL reads it.

    `sidecars` are the names of the sidecars that GDAL used. If the placement is known already, it is `placement`, and
    the dataset was opened without grid and CRS. Raises UnsupportedDtype or UnsupportedCRS.
    """
    main = header.main
    dtype = _dtype(dataset, main)
    placement = placement or _placement(dataset, main, header.aux_xml)
    facts = _read_facts(dataset, main, dtype, bool(sidecars) or GDAL_METADATA in main)
    return describe(facts, header, sidecars, placement)


def describe(
    facts: ImageFacts, header: Header, sidecars: Sequence[str], placement: Placement
) -> Description:
    """Describe the first image; `sidecars` are the names of the sidecars that GDAL used."""
    main, aux_xml, dtype = header.main, header.aux_xml, facts.dtype
    area_or_point, metadata_warnings = read_area_or_point(main)
    nodata = _nodata(facts, main, aux_xml)
    provenance = {
        "transform": _transform_origin(main, aux_xml, sidecars),
        "projection": _crs_origin(main, aux_xml, sidecars) if placement.crs.wkt else None,
        "fill_value": _nodata_origin(main, aux_xml, nodata[0]),
    }
    warnings = (
        *aux_xml.warnings,
        *_bit_depth_warnings(main),
        *_sidecar_warnings(provenance),
        *_nodata_warnings(nodata),
        *_unused_nodata_warnings(main, aux_xml, nodata, dtype),
        *_area_or_point_warnings(aux_xml.area_or_point, area_or_point, placement.area_or_point),
        *metadata_warnings,
        *placement.warnings,
        *facts.warnings,
    )
    return Description(
        placement=placement,
        dtype=dtype,
        nodata=nodata,
        descriptions=facts.descriptions,
        times=_time_tags(main, facts),
        warnings=warnings,
        provenance={field: origin for field, origin in provenance.items() if origin},
    )


def _read_facts(
    dataset: DatasetReader, main: Directory, dtype: str, with_metadata: bool
) -> ImageFacts:
    """Read facts from GDAL; rasterio omits metadata that are not UTF-8."""
    metadata = dataset.tags()
    imagery: dict[str, str] = dataset.tags(ns="IMAGERY") if with_metadata else {}
    bands = [dataset.tags(index) if with_metadata else {} for index in dataset.indexes]
    descriptions: tuple[str | None, ...] = (None,) * dataset.count
    warnings = []
    try:
        descriptions = dataset.descriptions
    except UnicodeDecodeError:
        text = "the descriptions of its bands are not UTF-8, and were ignored"
        warnings.append(RasterWarning("undecodable_descriptions", text))
    if GDAL_METADATA not in main and imagery.get(_ACQUIRED) == _EPOCH:
        del imagery[_ACQUIRED]
        text = "a time in a sidecar is not in a form that GDAL can read, and was ignored"
        warnings.append(RasterWarning("unreadable_time", text))
    nodata = dataset.nodatavals
    return ImageFacts(dtype, nodata, metadata, imagery, bands, descriptions, tuple(warnings))


def _dtype(dataset: DatasetReader, main: Directory) -> str:
    """Return the numpy code of the pixels, which all bands of a TIFF share."""
    if (main.integer(BITS_PER_SAMPLE, 1), main.integer(SAMPLE_FORMAT, 1)) == (16, _FLOAT):
        return "f2"  # GDAL before 3.11 reports float32
    name = dataset.dtypes[0]
    if name not in _DTYPES:
        raise UnsupportedDtype(
            f"numpy has no type for {name} pixels; convert it, for example to float32"
        )
    return _DTYPES[name]


def _bit_depth_warnings(main: Directory) -> list[RasterWarning]:
    bits = main.integer(BITS_PER_SAMPLE, 1)
    if bits in _WHOLE_BITS:
        return []
    text = f"its values have {bits} bits, and are read as a wider type"
    return [RasterWarning("bit_depth", text)]


def _placement(dataset: DatasetReader, main: Directory, aux_xml: AuxXML) -> Placement:
    keys = read_keys(main)
    grid = _grid(dataset)
    if lacks_tie_point(main) and not aux_xml.transform:
        grid = replace(grid, transform=None)
    crs = read_file_crs(dataset, aux_xml.crs or names_crs(keys))
    warnings = () if aux_xml.crs else _key_warnings(keys, crs)
    return Placement(grid, crs, dataset.tags().get("AREA_OR_POINT", "Area"), warnings)


def _key_warnings(keys: Keys, crs: FileCRS) -> tuple[RasterWarning, ...]:
    code = epsg_code(keys)
    if code is None or not crs.wkt:
        return ()
    with suppress(RasterError):  # it is raised again when the raster is placed
        return (*code_warnings(crs.wkt, code), *find_ignored_keys(keys, code))
    return ()


def _area_or_point_warnings(
    sidecar: str | None, metadata: str | None, used: str
) -> list[RasterWarning]:
    return [
        RasterWarning(
            "area_or_point_ignored", f"{origin} has {value!r} for its pixels; {used} was used"
        )
        for origin, value in (("its sidecar .aux.xml", sidecar), ("its GDAL_METADATA", metadata))
        if value and value.lower() != used.lower()
    ]


def _grid(dataset: DatasetReader) -> Grid:
    points, _ = _control_points(dataset)
    return Grid(
        width=dataset.width,
        height=dataset.height,
        transform=read_transform(dataset),
        control_points=tuple(ControlPoint(p.col, p.row, p.x, p.y) for p in points),
        has_rpcs=dataset.rpcs is not None,
    )


def read_transform(dataset: DatasetReader) -> Affine | None:
    """Return the geotransform; None for the identity, which GDAL returns if there is none."""
    return None if dataset.transform == Affine.identity() else dataset.transform


def read_file_crs(dataset: DatasetReader, named: bool) -> FileCRS:
    """Return the CRS of the grid, or of the control points. Raises UnsupportedCRS.

    `named` means that the file or a sidecar names a CRS.
    """
    crs = dataset.crs or _control_points(dataset)[1]
    try:
        wkt = crs.to_wkt(version=WktVersion.WKT2_2019) if crs else ""
    except CRSError as error:
        raise unreadable_crs_error() from error
    if not named and wkt.startswith(_LOCAL_CRS):
        wkt = ""
    return FileCRS(wkt or None, unusable=named and not wkt)


def _control_points(dataset: DatasetReader) -> tuple[list[GroundControlPoint], CRS | None]:
    try:
        points, crs = dataset.gcps
    except (CRSError, UnicodeDecodeError) as error:
        raise unreadable_crs_error() from error
    return points, crs


def _nodata(facts: ImageFacts, main: Directory, aux_xml: AuxXML) -> tuple[Nodata, ...]:
    """Return the nodata of each band: from the .aux.xml, the tag of the file, or (by GDAL) another sidecar."""
    own = main.text(GDAL_NODATA)
    by_text: dict[str | None, Nodata] = {}
    bands = []
    for index, gdal_value in enumerate(facts.nodata, 1):
        text = aux_xml.nodata.get(index, own)
        if text is None and gdal_value is not None:
            text = repr(float(gdal_value))
        if text not in by_text:
            by_text[text] = parse_nodata(text, facts.dtype)
        bands.append(by_text[text])
    return tuple(bands)


def _nodata_warnings(nodata: Sequence[Nodata]) -> list[RasterWarning]:
    warnings = list(dict.fromkeys(warning for band in nodata for warning in band.warnings))
    if len({band.value for band in nodata}) > 1:
        warnings.append(RasterWarning("nodata_differs", "its bands have different nodata values"))
    return warnings


def _unused_nodata_warnings(
    main: Directory, aux_xml: AuxXML, nodata: Sequence[Nodata], dtype: str
) -> list[RasterWarning]:
    """Return a warning if a sidecar replaces the file's own nodata by another value."""
    if not aux_xml.nodata:
        return []
    own = parse_nodata(main.text(GDAL_NODATA), dtype).value
    others = {nodata[band - 1].value for band in aux_xml.nodata if 0 < band <= len(nodata)}
    if own is None or others <= {own}:
        return []
    shown = ", ".join(sorted(map(str, others)))
    text = f"its tag GDAL_NODATA has {own}, its sidecar .aux.xml {shown}; the sidecar was used for its bands"
    return [RasterWarning("nodata_ignored", text)]


def _time_tags(main: Directory, facts: ImageFacts) -> TimeTags:
    acquired = acquisition_time(facts.imagery) or acquisition_time(facts.metadata) or TimeText()
    file = file_time(facts.metadata)
    bands = [
        band_time(description, metadata, facts.metadata)
        for description, metadata in zip(facts.descriptions, facts.bands, strict=True)
    ]
    # Keep the first warning of each code, because a file may have ten thousand bands.
    warnings = {
        warning.code: warning
        for time in reversed((acquired, file, *bands))
        for warning in reversed(time.warnings)
    }
    return TimeTags(
        datetime=main.text(DATETIME),
        acquisition=acquired.text,
        bands=tuple(band.text for band in bands),
        file=file.text,
        warnings=tuple(warnings.values()),
    )


def _transform_origin(main: Directory, aux_xml: AuxXML, sidecars: Sequence[str]) -> str | None:
    if aux_xml.transform:
        return "sidecar .aux.xml"
    if origin := grid_origin(main):
        return origin
    for name in sidecars:
        if name.lower().endswith(WORLD_FILES):
            return f"sidecar {name}"
    if aux_xml.control_points:
        return "ground control points of sidecar .aux.xml"
    return "ground control points" if MODEL_TIEPOINT in main else None


def _crs_origin(main: Directory, aux_xml: AuxXML, sidecars: Sequence[str]) -> str | None:
    if aux_xml.crs:
        return "sidecar .aux.xml"
    if GEO_KEY_DIRECTORY in main:
        return "GeoKeys"
    return "sidecar" if sidecars else None


def _nodata_origin(main: Directory, aux_xml: AuxXML, first: Nodata) -> str | None:
    if first.value is None:
        return None
    if 1 in aux_xml.nodata:
        return "sidecar .aux.xml"
    return "tag GDAL_NODATA" if GDAL_NODATA in main else "sidecar"


def _sidecar_warnings(provenance: dict[str, str | None]) -> list[RasterWarning]:
    """Return a warning for each value from a sidecar, because sidecars may get lost or belong to another file."""
    return [
        RasterWarning(f"sidecar_{field}", f"its {name} comes from a {origin}")
        for field, name in (("transform", "place"), ("projection", "CRS"), ("fill_value", "nodata"))
        if (origin := provenance[field] or "").startswith("sidecar")
    ]
