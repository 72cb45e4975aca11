"""Reads one GeoTIFF: opens it safely, checks that it is whole, and describes, places and dates it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import PurePath

from rasterio.io import DatasetReader

from pipeline.errors import RasterError, UnsupportedCRS
from pipeline.raster.assigned_values import assign_values
from pipeline.raster.aux_xml import AuxXML, read_aux_xml
from pipeline.raster.budget import Budget
from pipeline.raster.contradictions import PlacedFile, find_contradictions
from pipeline.raster.crs_cache import CRSCache
from pipeline.raster.describe import Description, describe, require_numpy_type
from pipeline.raster.file_access import OpenFile, open_local_file, open_unnamed_file
from pipeline.raster.geo_keys import require_no_path_in_keys
from pipeline.raster.grid_tags import WORLD_FILES, grid_origin, placement_from_tags
from pipeline.raster.integrity import check_integrity, find_lost_tags
from pipeline.raster.layout import describe_layout
from pipeline.raster.linked_folder import gdal_file_name
from pipeline.raster.models import (
    AssignedValues,
    Band,
    FileCRS,
    Layout,
    Placement,
    RasterFile,
    RasterWarning,
    ReadOptions,
)
from pipeline.raster.open_dataset import names_overview_file, open_dataset
from pipeline.raster.placement.georeference import georeference_grid
from pipeline.raster.sparse_copy import open_object
from pipeline.raster.tiff import Directory, read_directories
from pipeline.raster.times.timestamps import FileTimes, date_file
from pipeline.storage import RangeReader, StoredFile

_DEFAULTS = ReadOptions()
_CRS_CACHE = CRSCache()
_WARNING_CODES = {".ovr": "broken_overviews", ".msk": "sidecar_unreadable"}
"""Suffix of a sidecar with pixels to the code of the warning where it is broken."""
_ERDAS_MAGIC = b"EHFA_HEADER_TAG"


def read(
    file: StoredFile, options: ReadOptions = _DEFAULTS, ranges: RangeReader | None = None
) -> RasterFile:
    """Read the facts of a listed GeoTIFF from its header and sidecars; `ranges` reads those of objects.

    Raises a RasterError for a file that cannot be registered, CatalogueError for a time rule that
    cannot work, TransientError where object storage does not answer.
    """
    with open_stored_file(file, options.budget, ranges) as open_file:
        header = _read_header(open_file, options.budget)
        image = _describe_image(header, options.assigned)
        description = assign_values(image.description, options.assigned)
        placement = description.placement
        georeference = georeference_grid(
            placement.grid, placement.crs, options.crs_policy, options.gcp_residual_pixels
        )
        warnings = [*header.warnings]
        if not image.placement_known:
            own = image.description
            origin = own.provenance.get("transform", "GDAL")
            warnings += find_contradictions(
                PlacedFile(
                    open_file, header.main, header.aux_xml, own.placement, georeference, origin
                )
            )
        warnings += _unread_file_warnings(open_file, image.overviews_elsewhere)
        times = date_file(file.path, description.times, options.time_rule)
        open_file.require_unchanged()
    warnings += [RasterWarning("gdal_warning", text) for text in image.gdal_warnings]
    every = (*description.warnings, *georeference.warnings, *times.warnings, *warnings)
    return RasterFile(
        uri=file.uri,
        fingerprint=file.fingerprint,
        driver="GTiff",
        size=file.size,
        sidecars=image.sidecars,
        width=placement.grid.width,
        height=placement.grid.height,
        count=len(description.nodata),
        dtype=description.dtype,
        fill_value=description.nodata[0].value,
        bands=_bands(description, times),
        georeference=georeference,
        times=times.times,
        interval=times.interval,
        datetime=times.datetime,
        area_or_point=placement.area_or_point,
        layout=header.layout,
        warnings=tuple(dict.fromkeys(every)),
        provenance=_provenance(description, times),
    )


def open_stored_file(
    file: StoredFile, budget: Budget, ranges: RangeReader | None
) -> AbstractContextManager[OpenFile]:
    """Open a local file, an unnamed file or an object for its header."""
    if file.in_bucket:
        return open_object(file, budget, ranges or RangeReader(budget.seconds))
    return open_unnamed_file(file) if file.is_unnamed else open_local_file(file)


@dataclass(frozen=True)
class _Header:
    """What our own code reads in a file and its sidecars, before GDAL opens it."""

    open_file: OpenFile
    main: Directory
    aux_xml: AuxXML
    layout: Layout
    sources: str
    """Where GDAL may take the grid and the CRS from; everywhere if empty."""
    pixel_sidecars: Sequence[str]
    """Names of the readable sidecars with overviews and masks."""
    warnings: Sequence[RasterWarning]


def _read_header(open_file: OpenFile, budget: Budget) -> _Header:
    """Check that the file is whole, and make available to GDAL what it reads."""
    directories = read_directories(open_file.reader, budget)
    main = directories[0]
    check_integrity(directories, budget)
    require_numpy_type(main)
    aux_xml = read_aux_xml(open_file, budget)
    layout, warnings, pixel_sidecars = _read_layout(open_file, directories, budget)
    warnings += find_lost_tags(directories)
    open_file.prepare_for_gdal(directories, budget)
    sources = _georeference_sources(main, aux_xml, open_file.stored.sidecars)
    aux_xml = replace(aux_xml, crs=aux_xml.crs and not sources)
    return _Header(open_file, main, aux_xml, layout, sources, pixel_sidecars, warnings)


def _georeference_sources(main: Directory, aux_xml: AuxXML, sidecars: Sequence[str]) -> str:
    """Return GDAL's GDAL_GEOREF_SOURCES for a file.

    GDAL would hide the CRS of the file's own grid where the .aux.xml has control points but no grid.
    """
    has_world_file = any(name.lower().endswith(WORLD_FILES) for name in sidecars)
    own = grid_origin(main) is not None or has_world_file
    if own and aux_xml.control_points and not aux_xml.transform:
        return "INTERNAL,TABFILE,WORLDFILE"
    return ""


def _read_layout(
    open_file: OpenFile, directories: Sequence[Directory], budget: Budget
) -> tuple[Layout, list[RasterWarning], list[str]]:
    """Return the layout, warnings about broken .ovr and .msk sidecars, and the names of the readable ones."""
    by_name = {sidecar.lower(): sidecar for sidecar in open_file.stored.sidecars}
    warnings: list[RasterWarning] = []
    readable: list[str] = []
    with ExitStack() as stack:
        external: dict[str, tuple[Directory, ...]] = {".ovr": (), ".msk": ()}
        for suffix, code in _WARNING_CODES.items():
            if sidecar := by_name.get(f"{open_file.stored.name}{suffix}".lower()):
                try:
                    external[suffix] = stack.enter_context(
                        _open_directories(open_file, sidecar, budget)
                    )
                    readable.append(sidecar)
                except RasterError as error:
                    text = f"its sidecar {sidecar} is not read: {error.message}"
                    warnings.append(RasterWarning(code, text))
        layout = describe_layout(directories, external[".ovr"], bool(external[".msk"]))
    if layout.mask:
        text = f"a mask ({layout.mask}) marks its valid pixels"
        warnings.append(RasterWarning("mask", text))
    return layout, warnings, readable


@contextmanager
def _open_directories(
    open_file: OpenFile, sidecar: str, budget: Budget
) -> Iterator[tuple[Directory, ...]]:
    """Open an .ovr or .msk sidecar, which is a TIFF too, and check its first image."""
    with open_file.open_sidecar(sidecar) as reader:
        directories = read_directories(reader, budget)
        check_integrity(directories[:1], budget)
        yield directories


@dataclass(frozen=True)
class _Image:
    """What GDAL reads of a file."""

    description: Description
    sidecars: tuple[str, ...]
    """Names of the sidecars that were used."""
    gdal_warnings: Sequence[str]
    placement_known: bool
    """Whether the placement was known before GDAL opened the file."""
    overviews_elsewhere: bool
    """Whether the metadata name another file for the overviews."""


def _describe_image(header: _Header, assigned: AssignedValues) -> _Image:
    """Describe the image, without its own CRS where it is unusable and an assigned one overrides it."""
    main, has_sidecars = header.main, bool(header.open_file.stored.sidecars)
    cached = None if has_sidecars else _CRS_CACHE.find(main)
    try:
        image = _open_image(header, cached)
    except UnsupportedCRS:
        unusable = FileCRS(None, unusable=True)
        placement = None if header.aux_xml.transform else placement_from_tags(main, unusable)
        if not assigned.crs_override or placement is None:
            raise
        return _open_image(header, placement)
    # A warning may be about the CRS, and each file with this CRS must have it.
    if not has_sidecars and not image.gdal_warnings:
        _CRS_CACHE.store(main, image.description.placement)
    return image


def _open_image(header: _Header, placement: Placement | None) -> _Image:
    """Open the file with GDAL, without grid and CRS where the placement is known."""
    main, placed = header.main, placement is not None
    if not placed:
        require_no_path_in_keys(main)
    with open_dataset(header.open_file, placed=placed, sources=header.sources) as (
        dataset,
        gdal_warnings,
    ):
        elsewhere = names_overview_file(dataset, gdal_warnings)
        sidecars = _used_sidecars(header, dataset, elsewhere)
        description = describe(dataset, main, header.aux_xml, sidecars, placement)
        return _Image(description, sidecars, gdal_warnings, placed, elsewhere)


def _used_sidecars(
    header: _Header, dataset: DatasetReader, overviews_elsewhere: bool
) -> tuple[str, ...]:
    """Return the names of the sidecars that GDAL or we have read."""
    open_file, used = header.open_file, {*header.pixel_sidecars}
    if overviews_elsewhere:  # GDAL would open that file to list the files of the dataset
        used |= {*open_file.visible_sidecars}
    elif open_file.visible_sidecars:
        seen = {PurePath(name).name for name in dataset.files}
        used |= {name for name in open_file.visible_sidecars if gdal_file_name(name) in seen}
    return tuple(name for name in open_file.stored.sidecars if name in used)


def _unread_file_warnings(
    open_file: OpenFile, overviews_elsewhere: bool
) -> Iterator[RasterWarning]:
    """Warn about a file of overviews elsewhere, and about .aux sidecars of ERDAS."""
    if overviews_elsewhere:
        text = "its metadata name another file for its overviews, which is not opened"
        yield RasterWarning("overviews_elsewhere", text)
    for name in open_file.stored.sidecars:
        if name.lower().endswith(".aux") and _starts_with(open_file, name, _ERDAS_MAGIC):
            text = f"the sidecar {name} is not read, since it is of ERDAS; save it as .aux.xml"
            yield RasterWarning("sidecar_unreadable", text)


def _starts_with(open_file: OpenFile, sidecar: str, magic: bytes) -> bool:
    with suppress(RasterError), open_file.open_sidecar(sidecar) as reader:
        return reader.read(0, len(magic), len(magic)) == magic
    return False


def _bands(description: Description, times: FileTimes) -> tuple[Band, ...]:
    bands = zip(description.nodata, description.descriptions, times.bands, strict=True)
    return tuple(Band(description.dtype, nodata.value, text, time) for nodata, text, time in bands)


def _provenance(description: Description, times: FileTimes) -> dict[str, str]:
    provenance = dict(description.provenance)
    if times.origin:
        provenance["times"] = times.origin
    if times.datetime:
        provenance["datetime"] = "TIFFTAG_DATETIME"
    return provenance
