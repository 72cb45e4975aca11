"""Exports raster files as a tile index for GDAL (GTI): a GeoPackage that GDAL opens as one mosaic.

GDAL reads one CRS, one dtype and one pixel size from the index, so files with different ones are refused. The file with
the latest time is on top; among files with the same time, the one that was registered last.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import (
    REAL,
    ColumnElement,
    Row,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.catalogue.features import ITEMS
from pipeline.database.tables import coordinate_systems, raster_files
from pipeline.errors import CatalogueError
from pipeline.export.geopackage import Bounds, Box, GeoPackage, digests_of, open_geopackage, srs_row
from pipeline.export.selection import ExportSelection, Part, Snapshot
from pipeline.export.summary import Progress, Summary
from pipeline.export.target import UNFINISHED, lock, put, written_beside
from pipeline.storage.files import path_of

YEAR_1: ColumnElement[Any] = literal_column("timestamptz '0001-01-01Z'")
SHOWN = 5
"""Maximum number of kinds of files that an error lists."""
MICROSECONDS, MILLISECONDS = 'YYYY-MM-DD"T"HH24:MI:SS.US', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
ENDING = ".gti.gpkg"
GDAL_TYPES = {
    "u1": "Byte", "i1": "Int8", "u2": "UInt16", "i2": "Int16", "u4": "UInt32", "i4": "Int32", "u8": "UInt64",
    "i8": "Int64", "f4": "Float32", "f8": "Float64", "c8": "CFloat32", "c16": "CFloat64",
}  # fmt: skip
VIRTUAL = {"file": "", "s3": "/vsis3", "gs": "/vsigs", "az": "/vsiaz"}
"""GDAL's virtual file system of each scheme: the prefix of /folder/name or /bucket/key."""
OFF_GRID = 1e-3
"""Tolerance in pixels for files that do not lie on the grid of the others."""
_FILE = raster_files.c
_NODATA = func.jsonb_path_query_array(_FILE.bands, literal_column("'$[*].nodata'"), type_=JSONB)


def export_gti(
    snapshot: Snapshot, selection: ExportSelection, path: Path, progress: Progress, *, full: bool
) -> Summary:
    """Update an index; with `full` write it again. Raises CatalogueError for files that do not form a mosaic."""
    if not path.name.endswith(ENDING):
        raise CatalogueError(
            f'"{path}" must end with {ENDING}, so that GDAL recognises a tile index'
        )
    if not path.parent.is_dir():
        raise CatalogueError(f"the folder {path.parent} does not exist; create it first")
    digests_of(path)  # raises an error if the file is not an export
    with lock(path.with_name(f".{path.name}.lock"), path):
        return TileIndex(snapshot, selection, path, progress).update(full=full)


class TileIndex:
    """Updates an index: a copy of it is changed part by part, and then replaces it."""

    def __init__(
        self, snapshot: Snapshot, selection: ExportSelection, path: Path, progress: Progress
    ) -> None:
        self._snapshot, self._selection = snapshot, selection
        self._path, self._progress = path, progress
        self._partial = path.with_name(f".{path.name}.partial")
        self._named = selection.named
        self._usable = and_(self._named.c.href.is_not(None), _FILE.state == "present")

    def update(self, *, full: bool) -> Summary:
        """Write the parts that changed; continue a killed export."""
        summary = self._count()
        grid = self._find_grid(summary)
        parts = self._snapshot.parts(self._selection, self._selection.file_digests())
        summary.parts_unchanged = len(parts)
        if full or not self._is_current(parts):
            self._begin(full=full)
            with open_geopackage(self._partial) as package:
                self._write(package, parts, grid, summary)
            put(self._partial, self._path)
        return summary

    def _is_current(self, parts: Sequence[Part]) -> bool:
        """Return whether the index is up to date."""
        digests = {part.number: part.digest for part in parts}
        return not self._partial.exists() and digests_of(self._path) == digests

    def _begin(self, *, full: bool) -> None:
        """Prepare the copy of the index: keep the copy of a killed export, or else copy the index.

        With `full`, remove the copy.
        """
        try:
            exists = bool(digests_of(self._partial)) and not full
        except CatalogueError:
            exists = False
        if not exists:
            for ending in ("", "-journal"):
                Path(f"{self._partial}{ending}").unlink(missing_ok=True)
            if self._path.exists() and not full:
                with written_beside(self._partial) as beside:
                    copyfile(self._path, beside)

    def _write(
        self, package: GeoPackage, parts: Sequence[Part], grid: Row[Any], summary: Summary
    ) -> None:
        known = package.digests
        changed = [part for part in parts if known.get(part.number) != part.digest]
        gone = known.keys() - {part.number for part in parts}
        self._progress.add_total(sum(part.amount for part in changed))
        srs = srs_row(grid.wkt, grid.projection)
        for part in [*changed, *(Part(number, 0, UNFINISHED) for number in gone)]:
            package.replace(part, self._boxes(part), srs[0])
            self._progress.advance(part.amount)
        bounds = (grid.west, grid.south, grid.east, grid.north)
        package.finish(srs, bounds, gdal_metadata(grid, bounds))
        summary.parts_written, summary.parts_removed = len(changed), len(gone)
        summary.parts_unchanged -= len(changed)

    def _count(self) -> Summary:
        """Count the files of the index and those that it leaves out. Raises CatalogueError if it has no files."""
        absent = func.count().filter(_FILE.state != "present")
        columns = absent, func.count().filter(self._usable), func.count()
        missing, usable, everything = self._one(*columns)
        if not everything:
            raise CatalogueError("no raster file was found; an index needs at least one")
        if not usable:
            raise CatalogueError(
                f"all chosen files ({everything}) are missing, or their location may not be shown; set their public "
                "URLs in RASTERSOURCES_ASSET_URLS, or export --as a user who may write their sources"
            )
        return Summary(usable, missing=missing, not_public=everything - usable - missing)

    def _find_grid(self, summary: Summary) -> Row[Any]:
        """Return the CRS, pixels and bounds of the mosaic. Raises CatalogueError if the files have different ones."""
        sizes = (cast(_FILE.pixelsize_x, REAL), cast(_FILE.pixelsize_y, REAL))
        system = coordinate_systems.c
        kinds = (
            func.coalesce(system.projection, cast(system.id, Text)),
            _FILE.dtype,
            _FILE.band_count,
            _FILE.rotated,
            *sizes,
        )
        columns = [
            func.min(system.wkt).label("wkt"), func.min(system.projection).label("projection"),
            _FILE.dtype, _FILE.band_count, _FILE.rotated,
            func.mode().within_group(_FILE.pixelsize_x).label("width"),
            func.mode().within_group(_FILE.pixelsize_y).label("height"),
            func.mode().within_group(_NODATA).label("nodata"),
            func.count(_NODATA.distinct()).label("nodata_values"),
            func.min(_FILE.origin_x).label("west"), func.min(_FILE.origin_y).label("south"),
            func.max(_FILE.upper_bound_x).label("east"), func.max(_FILE.upper_bound_y).label("north"),
            func.count().label("files"),
        ]  # fmt: skip
        statement = self._statement(*columns).where(self._usable).group_by(*kinds)
        ordered = statement.order_by(func.count().desc()).limit(SHOWN + 1)
        first, *other_kinds = self._snapshot.rows(ordered)
        if other_kinds:
            raise CatalogueError("\n".join(differences([first, *other_kinds])))
        require_mosaic(first)
        if first.nodata_values > 1:
            summary.warnings.append(
                f"the files have different nodata values; that of the mosaic is {first.nodata}, and GDAL leaves out "
                "the missing pixels of each file"
            )
        if beside := self._count_beside(first):
            summary.warnings.append(
                f"{beside} of the files do not lie on the grid of the others; GDAL reads their nearest pixels"
            )
        return first

    def _count_beside(self, grid: Row[Any]) -> int:
        """Count the files whose pixels do not lie on the grid of the mosaic."""
        columns = (_FILE.origin_x - grid.west) / grid.width
        lines = (_FILE.upper_bound_y - grid.north) / grid.height
        beside = or_(
            *(func.abs(place - func.round(place)) > OFF_GRID for place in (columns, lines))
        )
        (count,) = self._one(func.count().filter(self._usable, beside))
        return int(count)

    def _boxes(self, part: Part) -> Iterator[Box]:
        if not part.amount:
            return
        time = _FILE.times[func.cardinality(_FILE.times)]
        first = func.timezone("UTC", func.first_step(_FILE.times))
        sorted_by = func.concat(
            func.to_char(func.timezone("UTC", func.coalesce(time, YEAR_1)), MICROSECONDS),
            " ", func.lpad(cast(_FILE.id, Text), 19, "0"),
        )  # fmt: skip
        shown = case((_FILE.times != [], func.to_char(first, MILLISECONDS)))
        columns = (
            _FILE.origin_x, _FILE.origin_y, _FILE.upper_bound_x, _FILE.upper_bound_y, self._named.c.href,
            self._named.c.title, shown.label("datetime"), sorted_by.label("sort_key"),
        )  # fmt: skip
        statement = self._selection.files(*columns, named=self._named, part=part)
        for row in self._snapshot.rows(statement.where(self._usable)):
            yield Box(
                row.id,
                (row.origin_x, row.origin_y, row.upper_bound_x, row.upper_bound_y),
                gdal_path(row.href),
                row.title,
                str(row.collection),
                row.datetime,
                row.sort_key,
            )

    def _statement(self, *columns: ColumnElement[Any]) -> Select[Any]:
        rows = ITEMS.rows.join(self._named, literal_column("true"))
        return select(*columns).select_from(rows).where(self._selection.chosen)

    def _one(self, *columns: ColumnElement[Any]) -> Row[Any]:
        (row,) = self._snapshot.rows(self._statement(*columns))
        return row


def differences(kinds: Sequence[Row[Any]]) -> Iterator[str]:
    """Yield lines of text about how files differ."""
    yield "these files do not form one mosaic; select fewer by filters, or by --source:"
    for kind in kinds[:SHOWN]:
        system = kind.projection or "a CRS without a code"
        size = f"{kind.width:.10g} x {abs(kind.height):.10g}"
        files = "1 file" if kind.files == 1 else f"{kind.files} files"
        yield f"  {files}: {system}, {kind.dtype}, bands: {kind.band_count}, pixels of {size}"
    if len(kinds) > SHOWN:
        yield "  ... and more"


def require_mosaic(grid: Row[Any]) -> None:
    """Raise CatalogueError for files that GDAL cannot put into a mosaic."""
    if grid.rotated or grid.width < 0 or grid.height > 0:
        raise CatalogueError(
            "these files are rotated or south-up, but a tile index needs north-up files; warp them"
        )
    if grid.dtype not in GDAL_TYPES:
        raise CatalogueError(f"GDAL has no data type for {grid.dtype}; convert the files")


def gdal_metadata(grid: Row[Any], bounds: Bounds) -> dict[str, str]:
    """Return the metadata that GDAL would otherwise read from a file."""
    west, south, east, north = map(repr, bounds)
    metadata = {
        "RESX": repr(grid.width), "RESY": repr(-grid.height), "BAND_COUNT": str(grid.band_count),
        "DATA_TYPE": GDAL_TYPES[grid.dtype], "MINX": west, "MINY": south, "MAXX": east, "MAXY": north,
        "SRS": grid.projection or grid.wkt, "LOCATION_FIELD": "location", "SORT_FIELD": "sort_key",
    }  # fmt: skip
    if None not in grid.nodata:
        metadata["NODATA"] = ",".join(grid.nodata)
    return metadata


def gdal_path(href: str) -> str:
    """Return the path with which GDAL opens a file. Raises CatalogueError for a URL that GDAL does not open."""
    scheme = urlsplit(href).scheme
    if scheme in ("http", "https", "ftp"):
        return f"/vsicurl/{href}"
    if scheme not in VIRTUAL:
        raise CatalogueError(f'GDAL does not open "{href}"; see RASTERSOURCES_ASSET_URLS')
    return VIRTUAL[scheme] + path_of(href)
