"""Reads one GeoTIFF: opens it safely, checks that it is whole, describes, places and dates it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import PurePath

from rasterio.io import DatasetReader

from pipeline.errors import RasterError
from pipeline.raster import integrity
from pipeline.raster.copies import open_object
from pipeline.raster.describe import Description, describe, require_numpy_type
from pipeline.raster.facts import (
    Band,
    Budget,
    Layout,
    Notice,
    RasterFile,
    ReadOptions,
)
from pipeline.raster.georeference import place
from pipeline.raster.layout import lay_out
from pipeline.raster.opened import Opened, open_local
from pipeline.raster.opening import names_overviews, open_dataset
from pipeline.raster.plain import KnownCRSs
from pipeline.raster.sidecars import read_auxiliary
from pipeline.raster.tags import Directory, read_directories
from pipeline.raster.timestamps import Dating, date
from pipeline.storage import Parts, StoredFile

_DEFAULTS = ReadOptions()
_KNOWN_CRSS = KnownCRSs()
_PIXELS = {".ovr": "broken_overviews", ".msk": "sidecar_unreadable"}
"""Sidecars with pixels, and the code of the notice where one is broken."""
_ERDAS = b"EHFA_HEADER_TAG"


def read(
    file: StoredFile, options: ReadOptions = _DEFAULTS, parts: Parts | None = None
) -> RasterFile:
    """The facts of a listed GeoTIFF, from its header and sidecars alone; `parts` gets those of objects.

    Raises a RasterError for a file that cannot be registered, CatalogueError for a time rule that
    cannot work, TransientError where object storage does not answer.
    """
    with open_stored(file, options.budget, parts) as opened:
        directories = read_directories(opened.bytes, options.budget)
        integrity.check(directories, options.budget)
        require_numpy_type(directories[0])
        auxiliary = read_auxiliary(opened, options.budget)
        layout, notices, pixels = _layout(opened, directories, options.budget)
        opened.prepare(directories, options.budget)
        known = None if file.sidecars else _KNOWN_CRSS.place(directories[0])
        with open_dataset(opened, placed=known is not None) as (dataset, warnings):
            elsewhere = names_overviews(dataset, warnings)
            sidecars = _used(opened, dataset, pixels, elsewhere)
            description = describe(dataset, directories[0], auxiliary, sidecars, known)
        if not file.sidecars and not warnings:  # which may be about the CRS, for every file to have
            _KNOWN_CRSS.keep(directories[0], description.placement.crs)
        placement = description.placement
        georeference = place(
            placement.grid, placement.crs, options.crs_policy, options.gcp_residual_pixels
        )
        notices += _not_read(opened, elsewhere)
        dating = date(file.path, description.times, options.time_rule)
        opened.require_unchanged()
    notices += [Notice("gdal_warning", text) for text in dict.fromkeys(warnings)]
    return RasterFile(
        uri=file.uri,
        fingerprint=file.fingerprint,
        driver="GTiff",
        size=file.size,
        sidecars=sidecars,
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
        notices=(*description.notices, *georeference.notices, *dating.notices, *notices),
        provenance=_provenance(description, dating),
    )


def open_stored(
    file: StoredFile, budget: Budget, parts: Parts | None
) -> AbstractContextManager[Opened]:
    """A file of this machine or an object, open for its header."""
    if file.in_bucket:
        return open_object(file, budget, parts or Parts(budget.seconds))
    return open_local(file)


def _bands(description: Description, dating: Dating) -> tuple[Band, ...]:
    facts = zip(description.nodata, description.descriptions, dating.bands, strict=True)
    return tuple(Band(description.dtype, nodata.value, text, time) for nodata, text, time in facts)


def _provenance(description: Description, dating: Dating) -> dict[str, str]:
    provenance = dict(description.provenance)
    if dating.origin:
        provenance["times"] = dating.origin
    if dating.datetime:
        provenance["datetime"] = "TIFFTAG_DATETIME"
    return provenance


def _used(
    opened: Opened, dataset: DatasetReader, pixels: Sequence[str], elsewhere: bool
) -> tuple[str, ...]:
    """The names of the sidecars that were taken into account; `pixels` are those with overviews and masks."""
    used = {*pixels}
    if elsewhere:  # where GDAL is asked for its files, it opens that one as well
        used |= {*opened.shown}
    elif opened.shown:
        used |= {PurePath(name).name for name in dataset.files}
    return tuple(name for name in opened.file.sidecars if name in used)


def _not_read(opened: Opened, elsewhere: bool) -> Iterator[Notice]:
    """What lies beside the file, or is said to lie elsewhere, and is left alone."""
    if elsewhere:
        text = "its metadata name another file for its overviews, which is not opened"
        yield Notice("overviews_elsewhere", text)
    for name in opened.file.sidecars:
        if name.lower().endswith(".aux") and _first_bytes(opened, name, _ERDAS) == _ERDAS:
            text = f"the sidecar {name} is not read: it is of ERDAS; save it as .aux.xml"
            yield Notice("sidecar_unreadable", text)


def _first_bytes(opened: Opened, sidecar: str, like: bytes) -> bytes:
    with suppress(RasterError), opened.beside(sidecar) as file:
        return file.read(0, len(like), len(like))
    return b""


def _layout(
    opened: Opened, directories: Sequence[Directory], budget: Budget
) -> tuple[Layout, list[Notice], list[str]]:
    """The layout, with what lies in .ovr and .msk sidecars, and their names; a broken one is a notice."""
    by_name = {sidecar.lower(): sidecar for sidecar in opened.file.sidecars}
    notices: list[Notice] = []
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
                    notices.append(Notice(code, text))
        layout = lay_out(directories, external[".ovr"], bool(external[".msk"]))
    if layout.mask:
        notices.append(Notice("mask", f"its valid pixels are told by a mask ({layout.mask})"))
    return layout, notices, names


@contextmanager
def _directories(opened: Opened, sidecar: str, budget: Budget) -> Iterator[tuple[Directory, ...]]:
    """The images of an .ovr or .msk sidecar, which is a TIFF too, and whole."""
    with opened.beside(sidecar) as file:
        directories = read_directories(file, budget)
        integrity.check(directories[:1], budget)
        yield directories
