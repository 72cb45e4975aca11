"""Reads one GeoTIFF: opens it safely, checks that it is whole, describes, places and dates it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import PurePath

from rasterio.io import DatasetReader

from pipeline.errors import RasterError, UnsupportedCRS
from pipeline.raster import integrity
from pipeline.raster.assigned import assign_values
from pipeline.raster.contradictions import PlacedFile, find_contradictions
from pipeline.raster.crs_cache import CRSCache, Placement, plain_placement
from pipeline.raster.describe import Description, describe, require_numpy_type
from pipeline.raster.file_access import OpenFile, open_local_file
from pipeline.raster.geo_keys import require_no_path_in_keys
from pipeline.raster.grid import FileCRS
from pipeline.raster.grid_tags import grid_origin
from pipeline.raster.layout import describe_layout
from pipeline.raster.linked_folder import gdal_file_name
from pipeline.raster.models import (
    AssignedValues,
    Band,
    Budget,
    Layout,
    RasterFile,
    RasterWarning,
    ReadOptions,
)
from pipeline.raster.open_dataset import names_overview_file, open_dataset
from pipeline.raster.placement.georeference import georeference_grid
from pipeline.raster.sidecars import WORLD_FILES, AuxXML, read_aux_xml
from pipeline.raster.sparse_copy import open_object
from pipeline.raster.tiff import Directory, read_directories
from pipeline.raster.times.timestamps import FileTimes, date_file
from pipeline.raster.unnamed_file import open_unnamed_file
from pipeline.storage import RangeReader, StoredFile

_DEFAULTS = ReadOptions()
_KNOWN_CRSS = CRSCache()
_PIXELS = {".ovr": "broken_overviews", ".msk": "sidecar_unreadable"}
"""Sidecars with pixels, and the code of the warning where one is broken."""
_ERDAS = b"EHFA_HEADER_TAG"


def read(
    file: StoredFile, options: ReadOptions = _DEFAULTS, parts: RangeReader | None = None
) -> RasterFile:
    """The facts of a listed GeoTIFF, from its header and sidecars alone; `parts` gets those of objects.

    Raises a RasterError for a file that cannot be registered, CatalogueError for a time rule that
    cannot work, TransientError where object storage does not answer.
    """
    with open_stored_file(file, options.budget, parts) as opened:
        directories = read_directories(opened.bytes, options.budget)
        integrity.check_integrity(directories, options.budget)
        require_numpy_type(directories[0])
        auxiliary = read_aux_xml(opened, options.budget)
        layout, warnings, pixels = _layout(opened, directories, options.budget)
        warnings += integrity.find_lost_tags(directories)
        opened.prepare(directories, options.budget)
        sources = _sources(directories[0], auxiliary, file.sidecars)
        auxiliary = replace(auxiliary, crs=auxiliary.crs and not sources)
        header = _Header(opened, directories[0], auxiliary, sources, pixels)
        found = _found(header, options.assigned)
        description = assign_values(found.description, options.assigned)
        placement = description.placement
        georeference = georeference_grid(
            placement.grid, placement.crs, options.crs_policy, options.gcp_residual_pixels
        )
        if not found.known:
            own = found.description
            origin = own.provenance.get("transform", "GDAL")
            warnings += find_contradictions(
                PlacedFile(opened, directories[0], auxiliary, own.placement, georeference, origin)
            )
        warnings += _not_read(opened, elsewhere=found.elsewhere)
        dating = date_file(file.path, description.times, options.time_rule)
        opened.require_unchanged()
    warnings += [RasterWarning("gdal_warning", text) for text in dict.fromkeys(found.warnings)]
    every = (*description.warnings, *georeference.warnings, *dating.warnings, *warnings)
    return RasterFile(
        uri=file.uri,
        fingerprint=file.fingerprint,
        driver="GTiff",
        size=file.size,
        sidecars=found.sidecars,
        width=placement.grid.width,
        height=placement.grid.height,
        count=len(description.nodata),
        dtype=description.dtype,
        fill_value=description.nodata[0].value,
        bands=_bands(description, dating),
        georeference=georeference,
        times=dating.times,
        interval=dating.interval,
        datetime=dating.datetime,
        area_or_point=placement.area_or_point,
        layout=layout,
        warnings=tuple(dict.fromkeys(every)),
        provenance=_provenance(description, dating),
    )


@dataclass(frozen=True)
class _Header:
    """What our own reading finds in a file and its sidecars, before GDAL opens it."""

    opened: OpenFile
    main: Directory
    auxiliary: AuxXML
    sources: str
    """What GDAL may take a place and a CRS from; all, where it is empty."""
    pixels: Sequence[str]
    """Names of the sidecars with overviews and masks."""


@dataclass(frozen=True)
class _Found:
    """What GDAL sees of a file."""

    description: Description
    sidecars: tuple[str, ...]
    warnings: Sequence[str]
    known: bool
    """Whether its place was known before GDAL opened it."""
    elsewhere: bool
    """Whether its metadata name another file for its overviews."""


def _found(header: _Header, assigned: AssignedValues) -> _Found:
    """The description of a file, without the CRS that cannot be used where another one overrides it."""
    main, file = header.main, header.opened.file
    known = None if file.sidecars else _KNOWN_CRSS.place(main)
    try:
        found = _look(header, known)
    except UnsupportedCRS:
        nowhere = FileCRS(None, unusable=True)
        plain = None if header.auxiliary.transform else plain_placement(main, nowhere)
        if not assigned.crs_override or plain is None:
            raise
        return _look(header, plain)
    # Warnings may be about the CRS, for every file to have.
    if not file.sidecars and not found.warnings:
        _KNOWN_CRSS.keep(main, found.description.placement)
    return found


def _look(header: _Header, known: Placement | None) -> _Found:
    """Open a file by GDAL; what is known of its place is not asked for."""
    main, placed = header.main, known is not None
    if not placed:
        require_no_path_in_keys(main)
    with open_dataset(header.opened, placed=placed, sources=header.sources) as (dataset, warnings):
        elsewhere = names_overview_file(dataset, warnings)
        sidecars = _used(header, dataset, elsewhere=elsewhere)
        description = describe(dataset, main, header.auxiliary, sidecars, known)
        return _Found(description, sidecars, warnings, placed, elsewhere)


def _sources(main: Directory, auxiliary: AuxXML, sidecars: Sequence[str]) -> str:
    """What GDAL may take a place and a CRS from; all, where it is empty.

    Where the file has a grid and its .aux.xml has control points only, GDAL hides the CRS of the grid.
    """
    world = any(name.lower().endswith(WORLD_FILES) for name in sidecars)
    own = grid_origin(main) is not None or world
    if own and auxiliary.control_points and not auxiliary.transform:
        return "INTERNAL,TABFILE,WORLDFILE"
    return ""


def open_stored_file(
    file: StoredFile, budget: Budget, parts: RangeReader | None
) -> AbstractContextManager[OpenFile]:
    """A file of this machine, one without a name or an object, open for its header."""
    if file.in_bucket:
        return open_object(file, budget, parts or RangeReader(budget.seconds))
    if file.is_unnamed:
        return open_unnamed_file(file)
    return open_local_file(file)


def _bands(description: Description, dating: FileTimes) -> tuple[Band, ...]:
    facts = zip(description.nodata, description.descriptions, dating.bands, strict=True)
    return tuple(Band(description.dtype, nodata.value, text, time) for nodata, text, time in facts)


def _provenance(description: Description, dating: FileTimes) -> dict[str, str]:
    provenance = dict(description.provenance)
    if dating.origin:
        provenance["times"] = dating.origin
    if dating.datetime:
        provenance["datetime"] = "TIFFTAG_DATETIME"
    return provenance


def _used(header: "_Header", dataset: DatasetReader, *, elsewhere: bool) -> tuple[str, ...]:
    """The names of the sidecars that were taken into account."""
    opened, used = header.opened, {*header.pixels}
    if elsewhere:  # where GDAL is asked for its files, it opens that one as well
        used |= {*opened.shown}
    elif opened.shown:
        seen = {PurePath(name).name for name in dataset.files}
        used |= {name for name in opened.shown if gdal_file_name(name) in seen}
    return tuple(name for name in opened.file.sidecars if name in used)


def _not_read(opened: OpenFile, *, elsewhere: bool) -> Iterator[RasterWarning]:
    """What lies beside the file, or is said to lie elsewhere, and is left alone."""
    if elsewhere:
        text = "its metadata name another file for its overviews, which is not opened"
        yield RasterWarning("overviews_elsewhere", text)
    for name in opened.file.sidecars:
        if name.lower().endswith(".aux") and _first_bytes(opened, name, _ERDAS) == _ERDAS:
            text = f"the sidecar {name} is not read: it is of ERDAS; save it as .aux.xml"
            yield RasterWarning("sidecar_unreadable", text)


def _first_bytes(opened: OpenFile, sidecar: str, like: bytes) -> bytes:
    with suppress(RasterError), opened.beside(sidecar) as file:
        return file.read(0, len(like), len(like))
    return b""


def _layout(
    opened: OpenFile, directories: Sequence[Directory], budget: Budget
) -> tuple[Layout, list[RasterWarning], list[str]]:
    """The layout, with what lies in .ovr and .msk sidecars, and their names; a broken one is a warning."""
    by_name = {sidecar.lower(): sidecar for sidecar in opened.file.sidecars}
    warnings: list[RasterWarning] = []
    names: list[str] = []
    with ExitStack() as stack:
        external: dict[str, tuple[Directory, ...]] = {".ovr": (), ".msk": ()}
        for suffix, code in _PIXELS.items():
            if sidecar := by_name.get(f"{opened.file.name}{suffix}".lower()):
                try:
                    external[suffix] = stack.enter_context(_directories(opened, sidecar, budget))
                    names.append(sidecar)
                except RasterError as error:
                    text = f"its sidecar {sidecar} is not read: {error.message}"
                    warnings.append(RasterWarning(code, text))
        layout = describe_layout(directories, external[".ovr"], bool(external[".msk"]))
    if layout.mask:
        warnings.append(
            RasterWarning("mask", f"its valid pixels are told by a mask ({layout.mask})")
        )
    return layout, warnings, names


@contextmanager
def _directories(opened: OpenFile, sidecar: str, budget: Budget) -> Iterator[tuple[Directory, ...]]:
    """The images of an .ovr or .msk sidecar, which is a TIFF too, and whole."""
    with opened.beside(sidecar) as file:
        directories = read_directories(file, budget)
        integrity.check_integrity(directories[:1], budget)
        yield directories
