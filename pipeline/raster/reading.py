"""Reads one GeoTIFF: opens it safely, checks that it is whole, describes, places and dates it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import PurePath

from pipeline.errors import RasterError, Unreadable
from pipeline.raster import integrity
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
from pipeline.raster.opening import open_bytes, open_dataset, require_same, require_unchanged
from pipeline.raster.plain import KnownCRSs
from pipeline.raster.sidecars import read_auxiliary
from pipeline.raster.tags import Directory, read_directories
from pipeline.raster.timestamps import Dating, date
from pipeline.storage import StoredFile

_DEFAULTS = ReadOptions()
_KNOWN_CRSS = KnownCRSs()


def read(file: StoredFile, options: ReadOptions = _DEFAULTS) -> RasterFile:
    """The facts of a listed GeoTIFF, from its header and sidecars alone.

    Raises a RasterError for a file that cannot be registered, and CatalogueError for a time rule
    that cannot work.
    """
    if file.uri.startswith("s3://"):
        raise Unreadable("objects are listed, and not read yet; copy it to a folder")
    with open_bytes(file.path) as descriptor:
        require_same(file, descriptor)
        directories = read_directories(descriptor, file.size, options.budget)
        integrity.check(directories, options.budget)
        require_numpy_type(directories[0])
        auxiliary = read_auxiliary(file, options.budget)
        layout, notices = _layout(file, directories, options.budget)
        known = None if file.sidecars else _KNOWN_CRSS.place(directories[0])
        with open_dataset(file, descriptor, placed=known is not None) as (dataset, warnings):
            sidecars = _used(file, dataset.files)
            description = describe(dataset, directories[0], auxiliary, sidecars, known)
        if not file.sidecars and not warnings:  # which may be about the CRS, for every file to have
            _KNOWN_CRSS.keep(directories[0], description.placement.crs)
    placement = description.placement
    georeference = place(
        placement.grid, placement.crs, options.crs_policy, options.gcp_residual_pixels
    )
    dating = date(file.path, description.times, options.time_rule)
    require_unchanged(file)
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


def _used(file: StoredFile, opened: Sequence[str]) -> tuple[str, ...]:
    """The names of the sidecars that GDAL took into account."""
    if not file.sidecars:
        return ()
    names = {PurePath(name).name for name in opened}
    return tuple(name for name in file.sidecars if name in names)


def _layout(
    file: StoredFile, directories: Sequence[Directory], budget: Budget
) -> tuple[Layout, list[Notice]]:
    """The layout, with what lies in .ovr and .msk sidecars; a broken .ovr is a notice."""
    name = file.path.name.lower()
    by_name = {sidecar.lower(): sidecar for sidecar in file.sidecars}
    notices = []
    with ExitStack() as stack:
        external: tuple[Directory, ...] = ()
        if sidecar := by_name.get(f"{name}.ovr"):
            try:
                external = stack.enter_context(_directories(file, sidecar, budget))
            except RasterError as error:
                text = f"its sidecar {sidecar} is not read: {error.message}"
                notices.append(Notice("broken_overviews", text))
        layout = lay_out(directories, external, f"{name}.msk" in by_name)
    if layout.mask:
        notices.append(Notice("mask", f"its valid pixels are told by a mask ({layout.mask})"))
    return layout, notices


@contextmanager
def _directories(file: StoredFile, sidecar: str, budget: Budget) -> Iterator[tuple[Directory, ...]]:
    """The images of an .ovr sidecar, which is a TIFF too, and whole."""
    with open_bytes(file.path.with_name(sidecar)) as descriptor:
        directories = read_directories(descriptor, os.fstat(descriptor).st_size, budget)
        integrity.check(directories[:1], budget)
        yield directories
