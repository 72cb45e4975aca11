"""Describes an open GeoTIFF: its grid, CRS, bands and layout, as the file and its sidecars say."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import WktVersion
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from pipeline.errors import RasterError, UnsupportedDtype
from pipeline.raster.crs_cache import Placement
from pipeline.raster.geo_keys import Keys, epsg_code, find_ignored_keys, names_crs, read_keys
from pipeline.raster.grid import ControlPoint, FileCRS, Grid
from pipeline.raster.grid_tags import grid_origin, lacks_tie_point
from pipeline.raster.metadata_xml import GDALMetadata, read_gdal_metadata
from pipeline.raster.models import RasterWarning
from pipeline.raster.nodata import Nodata, parse_nodata
from pipeline.raster.open_dataset import unreadable_crs_error
from pipeline.raster.placement.crs import code_warnings
from pipeline.raster.sidecars import WORLD_FILES, AuxXML
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
_FLOAT = 3
_COMPLEX_INTEGER = 5
"""Values of SampleFormat (TIFF 6.0 and its technical note on complex numbers)."""

_ACQUIRED = "ACQUISITIONDATETIME"
_EPOCH = "1970-01-01 00:00:00"
"""What GDAL makes of a time in a satellite product's metadata that it cannot read."""
_LOCAL = ("ENGCRS", "LOCAL_CS")


@dataclass(frozen=True)
class Description:
    """What a file says of itself, before it is placed and dated."""

    placement: Placement
    dtype: str
    nodata: tuple[Nodata, ...]
    """One for each band."""
    descriptions: tuple[str | None, ...]
    times: TimeTags
    warnings: tuple[RasterWarning, ...]
    provenance: dict[str, str]


def describe(
    dataset: DatasetReader,
    main: Directory,
    auxiliary: AuxXML,
    sidecars: Sequence[str],
    placement: Placement | None,
) -> Description:
    """The facts of the first image; `sidecars` are the names of those that GDAL used.

    `placement` is what is known of its place, where the dataset was opened without.

    Raises UnsupportedDtype or UnsupportedCRS.
    """
    dtype = _dtype(dataset, main)
    placement = placement or _placement(dataset, main, auxiliary)
    tags = _Tags(dataset, main, bool(sidecars) or GDAL_METADATA in main)
    metadata = read_gdal_metadata(main)
    nodata = _nodata(dataset, main, auxiliary, dtype)
    provenance = {
        "transform": _transform_origin(main, auxiliary, sidecars),
        "projection": _crs_origin(main, auxiliary, sidecars),
        "fill_value": _nodata_origin(main, auxiliary, nodata[0]),
    }
    warnings = [
        *_bit_warnings(main),
        *_sidecar_warnings(provenance),
        *_nodata_warnings(nodata),
        *_unused_nodata(main, auxiliary, nodata, dtype),
        *_area_or_point_warnings(auxiliary, metadata, placement.area_or_point),
        *metadata.warnings,
        *placement.warnings,
    ]
    return Description(
        placement=placement,
        dtype=dtype,
        nodata=nodata,
        descriptions=tags.descriptions,
        times=_time_tags(main, tags),
        warnings=(*auxiliary.warnings, *warnings, *tags.warnings),
        provenance={name: origin for name, origin in provenance.items() if origin},
    )


class _Tags:
    """The metadata of the file and its bands; rasterio leaves out what is no UTF-8."""

    def __init__(self, dataset: DatasetReader, main: Directory, with_metadata: bool) -> None:
        self.dataset: dict[str, str] = dataset.tags()
        self.imagery: dict[str, str] = dataset.tags(ns="IMAGERY") if with_metadata else {}
        self.bands: list[dict[str, str]] = [
            dataset.tags(index) if with_metadata else {} for index in dataset.indexes
        ]
        self.warnings: tuple[RasterWarning, ...] = ()
        self.descriptions: tuple[str | None, ...] = (None,) * dataset.count
        try:
            self.descriptions = dataset.descriptions
        except UnicodeDecodeError:
            text = "the descriptions of its bands are no UTF-8 text, and left out"
            self.warnings = (RasterWarning("undecodable_descriptions", text),)
        if GDAL_METADATA not in main and self.imagery.get(_ACQUIRED) == _EPOCH:
            del self.imagery[_ACQUIRED]
            text = "a time in a sidecar is not in the form that GDAL reads, and left out"
            self.warnings = (*self.warnings, RasterWarning("unreadable_time", text))


def require_numpy_type(main: Directory) -> None:
    """Raises UnsupportedDtype for pixels that numpy has no type for, before GDAL stumbles."""
    bits, formats = main.integers(BITS_PER_SAMPLE), main.integers(SAMPLE_FORMAT)
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        raise UnsupportedDtype("its bands differ in type; write one file for each type")
    if _COMPLEX_INTEGER in formats:
        raise UnsupportedDtype("numpy has no complex integers; convert it to complex64")


def _dtype(dataset: DatasetReader, main: Directory) -> str:
    """The numpy code of the pixels, which in a TIFF is the same for all bands."""
    if (main.integer(BITS_PER_SAMPLE, 1), main.integer(SAMPLE_FORMAT, 1)) == (16, _FLOAT):
        return "f2"  # as stored; GDAL before 3.11 shows it as float32
    name = dataset.dtypes[0]
    if name not in _DTYPES:
        raise UnsupportedDtype(f"numpy has no type for {name} pixels; convert it, to float32 say")
    return _DTYPES[name]


def _bit_warnings(main: Directory) -> list[RasterWarning]:
    bits = main.integer(BITS_PER_SAMPLE, 1)
    if bits in (8, 16, 32, 64, 128):
        return []
    return [
        RasterWarning("bit_depth", f"its values take {bits} bits, and are read into a wider type")
    ]


def _placement(dataset: DatasetReader, main: Directory, auxiliary: AuxXML) -> Placement:
    area_or_point = dataset.tags().get("AREA_OR_POINT", "Area")
    named = auxiliary.crs or names_crs(read_keys(main))
    grid = _grid(dataset)
    if lacks_tie_point(main) and not auxiliary.transform:
        grid = replace(grid, transform=None)
    crs = read_file_crs(dataset, named)
    warnings = () if auxiliary.crs else _key_warnings(read_keys(main), crs)
    return Placement(grid, crs, area_or_point, warnings)


def _key_warnings(keys: Keys, crs: FileCRS) -> tuple[RasterWarning, ...]:
    code = epsg_code(keys)
    if code is None or not crs.wkt:
        return ()
    with suppress(RasterError):  # which is told where the raster is placed
        return (*code_warnings(crs.wkt, code), *find_ignored_keys(keys, code))
    return ()


def _area_or_point_warnings(
    auxiliary: AuxXML, metadata: GDALMetadata, used: str
) -> list[RasterWarning]:
    others = {
        "its sidecar .aux.xml": auxiliary.area_or_point,
        "its GDAL_METADATA": metadata.area_or_point,
    }
    return [
        RasterWarning(
            "area_or_point_ignored", f"{where} says {value!r} of its pixels; {used} was used"
        )
        for where, value in others.items()
        if value and value.lower() != used.lower()
    ]


def _grid(dataset: DatasetReader) -> Grid:
    transform = dataset.transform
    points, _ = _control_points(dataset)
    return Grid(
        width=dataset.width,
        height=dataset.height,
        # The identity is what GDAL gives where there is none; it places nothing on earth.
        transform=None if transform == Affine.identity() else transform,
        control_points=tuple(ControlPoint(p.col, p.row, p.x, p.y) for p in points),
        has_rpcs=dataset.rpcs is not None,
    )


def read_file_crs(dataset: DatasetReader, named: bool) -> FileCRS:
    """The CRS of the grid, or of the control points. Raises UnsupportedCRS.

    `named` says whether the file or a sidecar names a CRS at all.
    """
    crs = dataset.crs or _control_points(dataset)[1]
    try:
        wkt = crs.to_wkt(version=WktVersion.WKT2_2019) if crs else ""
    except CRSError as error:
        raise unreadable_crs_error() from error
    if not named and wkt.startswith(_LOCAL):
        wkt = ""
    return FileCRS(wkt or None, unusable=named and not wkt)


def _control_points(dataset: DatasetReader) -> tuple[list[GroundControlPoint], CRS | None]:
    try:
        points, crs = dataset.gcps
    except (CRSError, UnicodeDecodeError) as error:
        raise unreadable_crs_error() from error
    return points, crs


def _nodata(
    dataset: DatasetReader, main: Directory, auxiliary: AuxXML, dtype: str
) -> tuple[Nodata, ...]:
    """For each band: from the .aux.xml sidecar, the file's own tag, or other sidecars by GDAL."""
    own = main.text(GDAL_NODATA)
    by_text: dict[str | None, Nodata] = {}
    found = []
    for index, seen in zip(dataset.indexes, dataset.nodatavals, strict=True):
        text = auxiliary.nodata.get(index, own)
        if text is None and seen is not None:
            text = repr(float(seen))
        if text not in by_text:
            by_text[text] = parse_nodata(text, dtype)
        found.append(by_text[text])
    return tuple(found)


def _nodata_warnings(nodata: Sequence[Nodata]) -> list[RasterWarning]:
    warnings = list(dict.fromkeys(warning for each in nodata for warning in each.warnings))
    if len({each.value for each in nodata}) > 1:
        warnings.append(RasterWarning("nodata_differs", "its bands have different nodata values"))
    return warnings


def _unused_nodata(
    main: Directory, auxiliary: AuxXML, nodata: Sequence[Nodata], dtype: str
) -> list[RasterWarning]:
    """The file's own value where a sidecar has another for one of its bands."""
    own = parse_nodata(main.text(GDAL_NODATA), dtype).value
    others = [nodata[band - 1].value for band in auxiliary.nodata if 0 < band <= len(nodata)]
    if own is None or all(other == own for other in others):
        return []
    text = f"its tag GDAL_NODATA says {own}, its sidecar .aux.xml {', '.join(sorted({str(each) for each in others}))}; "
    return [RasterWarning("nodata_ignored", text + "that of the sidecar was used for its bands")]


def _time_tags(main: Directory, tags: _Tags) -> TimeTags:
    acquired = acquisition_time(tags.imagery) or acquisition_time(tags.dataset) or TimeText()
    file = file_time(tags.dataset)
    bands = [
        band_time(description, metadata, tags.dataset)
        for description, metadata in zip(tags.descriptions, tags.bands, strict=True)
    ]
    told = (acquired, file, *bands)
    return TimeTags(
        datetime=main.text(DATETIME),
        acquisition=acquired.text,
        bands=tuple(band.text for band in bands),
        file=file.text,
        # Of the same kind the first will do: a file may have ten thousand bands.
        warnings=tuple(
            {n.code: n for one in reversed(told) for n in reversed(one.warnings)}.values()
        ),
    )


def _transform_origin(main: Directory, auxiliary: AuxXML, sidecars: Sequence[str]) -> str | None:
    if auxiliary.transform:
        return "sidecar .aux.xml"
    if origin := grid_origin(main):
        return origin
    for name in sidecars:
        if name.lower().endswith(WORLD_FILES):
            return f"sidecar {name}"
    if auxiliary.control_points:
        return "ground control points of sidecar .aux.xml"
    return "ground control points" if MODEL_TIEPOINT in main else None


def _crs_origin(main: Directory, auxiliary: AuxXML, sidecars: Sequence[str]) -> str | None:
    if auxiliary.crs:
        return "sidecar .aux.xml"
    if GEO_KEY_DIRECTORY in main:
        return "GeoKeys"
    return "sidecar" if sidecars else None


def _nodata_origin(main: Directory, auxiliary: AuxXML, first: Nodata) -> str | None:
    if first.value is None:
        return None
    if 1 in auxiliary.nodata:
        return "sidecar .aux.xml"
    return "tag GDAL_NODATA" if GDAL_NODATA in main else "sidecar"


def _sidecar_warnings(provenance: dict[str, str | None]) -> list[RasterWarning]:
    """What comes from beside the file, where it could be lost or be of another file."""
    warnings = []
    for field, what in (("transform", "place"), ("projection", "CRS"), ("fill_value", "nodata")):
        origin = provenance[field] or ""
        if origin.startswith("sidecar"):
            warnings.append(RasterWarning(f"sidecar_{field}", f"its {what} comes from a {origin}"))
    return warnings
