"""Reads GeoTIFFs: opens each file safely, checks that it is complete, and describes, places and dates it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from rasterio.io import DatasetReader

from pipeline.errors import RasterError, Rejection, UnsupportedCRS
from pipeline.raster.assigned_values import assign_values
from pipeline.raster.contradictions import PlacedFile, find_contradictions
from pipeline.raster.crs_cache import CRSCache
from pipeline.raster.describe import Description, describe_dataset
from pipeline.raster.geo_keys import require_no_path_in_keys
from pipeline.raster.grid_tags import placement_from_tags
from pipeline.raster.header import Header, find_erdas_sidecars, read_header
from pipeline.raster.linked_folder import gdal_file_name
from pipeline.raster.models import (
    AssignedValues,
    Band,
    FileCRS,
    Georeference,
    Layout,
    Placement,
    RasterFile,
    RasterWarning,
    ReadOptions,
)
from pipeline.raster.open_dataset import names_overview_file, open_dataset
from pipeline.raster.placement.georeference import georeference_grid, georeference_grids
from pipeline.raster.plain_tiff import PlainFiles
from pipeline.raster.stored_file import open_stored_file
from pipeline.raster.times.timestamps import FileTimes, date_file
from pipeline.storage import RangeReader, StoredFile, rejection

_DEFAULTS = ReadOptions()
_CRS_CACHE = CRSCache()
_PLAIN_FILES = PlainFiles()

StartStep = Callable[[ReadOptions, int | None], None]
"""Called with the options and the index of the next file; the index is None when several files are placed together."""


def _no_time_limit(_: ReadOptions, _index: int | None) -> None:
    """Do nothing: this reading has no time limit."""


def read(
    file: StoredFile, options: ReadOptions = _DEFAULTS, ranges: RangeReader | None = None
) -> RasterFile:
    """Read the facts of a listed GeoTIFF from its header and sidecars; `ranges` reads those of objects.

    Raises a RasterError for a file that cannot be registered, CatalogueError for an invalid time rule, TransientError
    if object storage does not answer.
    """
    (outcome,) = _read([file], [options], ranges, _no_time_limit)
    if isinstance(outcome, RasterError):
        raise outcome
    return outcome


def read_files(
    files: Sequence[StoredFile],
    options: Sequence[ReadOptions],
    ranges: RangeReader | None = None,
    start_step: StartStep = _no_time_limit,
) -> list[RasterFile | Rejection]:
    """Read a chunk of files, each with its options; return the outcome of each.

    `start_step` is called before each step that may take as long as one file. Raises the errors of `read`, except
    RasterError.
    """
    return [
        rejection(file, outcome) if isinstance(outcome, RasterError) else outcome
        for file, outcome in zip(files, _read(files, options, ranges, start_step), strict=True)
    ]


def _read(
    files: Sequence[StoredFile],
    options: Sequence[ReadOptions],
    ranges: RangeReader | None,
    start_step: StartStep,
) -> list[RasterFile | RasterError]:
    """Describe each file, place those with the same CRS together, and date each."""
    outcomes: dict[int, RasterFile | RasterError] = {}
    groups: dict[tuple[FileCRS, str, float], dict[int, DescribedFile]] = {}
    for index, (file, file_options) in enumerate(zip(files, options, strict=True)):
        start_step(file_options, index)
        try:
            described = describe_file(file, file_options, ranges)
        except RasterError as error:
            outcomes[index] = error
        else:
            crs, policy = described.placement.crs, file_options.crs_policy
            group = groups.setdefault((crs, policy, file_options.gcp_residual_pixels), {})
            group[index] = described
    for shared, group in groups.items():
        start_step(next(iter(group.values())).options, None)
        places = georeference_grids([d.placement.grid for d in group.values()], *shared)
        for (index, described), place in zip(group.items(), places, strict=True):
            start_step(described.options, index)
            outcomes[index] = place if isinstance(place, RasterError) else _date(described, place)
    return [outcomes[index] for index in range(len(files))]


@dataclass(frozen=True)
class DescribedFile:
    """A file that was opened and described, but not yet placed and dated."""

    file: StoredFile
    options: ReadOptions
    description: Description
    layout: Layout
    sidecars: tuple[str, ...]
    """Names of the sidecars that were used."""
    warnings: Sequence[RasterWarning]
    """Warnings that are not in the description."""

    @property
    def placement(self) -> Placement:
        """The grid and the CRS."""
        return self.description.placement


def describe_file(
    file: StoredFile, options: ReadOptions, ranges: RangeReader | None
) -> DescribedFile:
    """Open a file, check it and describe it. Raises the errors of `read`."""
    with open_stored_file(file, options.budget, ranges) as open_file:
        header = read_header(open_file, options.budget)
        image = _describe_image(header, options.assigned)
        description = assign_values(image.description, options.assigned)
        warnings = [*header.warnings]
        if not image.placement_known:
            warnings += _find_contradictions(header, image.description, description, options)
        if image.overviews_elsewhere:
            text = "its metadata name another file for its overviews; that file is not opened"
            warnings.append(RasterWarning("overviews_elsewhere", text))
        warnings += find_erdas_sidecars(open_file)
        open_file.require_unchanged()
    warnings += [RasterWarning("gdal_warning", text) for text in image.gdal_warnings]
    return DescribedFile(file, options, description, header.layout, image.sidecars, warnings)


def _find_contradictions(
    header: Header, own: Description, used: Description, options: ReadOptions
) -> list[RasterWarning]:
    """Compare the used place with other places in the file and its sidecars, while they are open."""
    grid, crs = used.placement.grid, used.placement.crs
    place = georeference_grid(grid, crs, options.crs_policy, options.gcp_residual_pixels)
    return find_contradictions(PlacedFile(header, own, place))


def _date(described: DescribedFile, georeference: Georeference) -> RasterFile:
    """Return the record of a placed file with its times."""
    file, description = described.file, described.description
    grid = described.placement.grid
    stated = file.stated.time if file.stated else None
    times = date_file(file.real_path, description.times, described.options.time_rule, stated)
    warnings = (*description.warnings, *georeference.warnings, *times.warnings, *described.warnings)
    return RasterFile(
        uri=file.uri,
        fingerprint=file.fingerprint,
        driver="GTiff",
        size=file.size,
        sidecars=described.sidecars,
        width=grid.width,
        height=grid.height,
        count=len(description.nodata),
        dtype=description.dtype,
        fill_value=description.nodata[0].value,
        bands=_bands(description, times),
        georeference=georeference,
        times=times.times,
        interval=times.interval,
        datetime=times.datetime,
        area_or_point=description.placement.area_or_point,
        layout=described.layout,
        warnings=tuple(dict.fromkeys(warnings)),
        provenance=_provenance(description, times),
    )


@dataclass(frozen=True)
class _Image:
    """The description of a file by GDAL, or the equal one of a plain file."""

    description: Description
    sidecars: tuple[str, ...] = ()
    """Names of the sidecars that were used."""
    gdal_warnings: Sequence[str] = ()
    placement_known: bool = True
    """Whether the placement was known before GDAL opened the file."""
    overviews_elsewhere: bool = False
    """Whether the metadata name another file for the overviews."""


def _describe_image(header: Header, assigned: AssignedValues) -> _Image:
    """Describe the image, without its own CRS if that is unusable and an assigned CRS overrides it."""
    main, has_sidecars = header.main, bool(header.open_file.stored.sidecars)
    cached = None if has_sidecars else _CRS_CACHE.find(main)
    if cached and (description := _PLAIN_FILES.describe(header, cached)):
        return _Image(description)
    header.open_file.prepare_for_gdal(header.directories, main.reader.budget)
    try:
        image = _open_image(header, cached)
    except UnsupportedCRS:
        unusable = FileCRS(None, unusable=True)
        placement = None if header.aux_xml.transform else placement_from_tags(main, unusable)
        if not assigned.crs_override or placement is None:
            raise
        return _open_image(header, placement)
    # Cache only without warnings: a warning may be about the CRS, and then each file with this CRS needs it.
    if not has_sidecars and not image.gdal_warnings:
        _CRS_CACHE.store(main, image.description.placement)
        if not image.overviews_elsewhere:
            _PLAIN_FILES.store(header, image.description.dtype)
    return image


def _open_image(header: Header, placement: Placement | None) -> _Image:
    """Open the file with GDAL; without grid and CRS if the placement is known."""
    main, placed = header.main, placement is not None
    if not placed:
        require_no_path_in_keys(main)
    with open_dataset(header.open_file, placed=placed, sources=header.georeference_sources) as (
        dataset,
        gdal_warnings,
    ):
        elsewhere = names_overview_file(dataset, gdal_warnings)
        sidecars = _used_sidecars(header, dataset, elsewhere)
        description = describe_dataset(dataset, header, sidecars, placement)
        return _Image(description, sidecars, gdal_warnings, placed, elsewhere)


def _used_sidecars(
    header: Header, dataset: DatasetReader, overviews_elsewhere: bool
) -> tuple[str, ...]:
    """Return the names of the sidecars that GDAL or we have read."""
    open_file, used = header.open_file, {*header.pixel_sidecars}
    if overviews_elsewhere:  # GDAL would open that file to list the files of the dataset
        used |= {*open_file.visible_sidecars}
    elif open_file.visible_sidecars:
        seen = {PurePath(name).name for name in dataset.files}
        used |= {name for name in open_file.visible_sidecars if gdal_file_name(name) in seen}
    return tuple(name for name in open_file.stored.sidecars if name in used)


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
