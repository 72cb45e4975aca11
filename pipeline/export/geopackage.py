"""Writes a GeoPackage with SQLite alone: the layer `files` with boxes, a spatial index, and metadata for GDAL."""

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

import orjson
from pyproj import CRS
from pyproj.exceptions import CRSError

from pipeline.errors import CatalogueError
from pipeline.export.selection import Part

SQL = Path(__file__).resolve().parents[2] / "sql" / "geopackage"
OWN = "urn:rastersources:export"
"""The metadata standard URI of our own metadata: the digests of the written parts."""
CUSTOM_SRS = 100_000
"""The srs_id of a CRS without an EPSG code."""
Bounds = tuple[float, float, float, float]
"""Minimum x and y, maximum x and y."""


class Box(NamedTuple):
    """A row of the layer."""

    fid: int
    bounds: Bounds
    location: str
    title: str
    collection: str
    datetime: str | None
    sort_key: str


class GeoPackage:
    """An open GeoPackage; each part is committed on its own."""

    def __init__(self, link: sqlite3.Connection) -> None:
        self._link = link

    @property
    def digests(self) -> dict[int, str]:
        """The digests of the written parts."""
        return read_digests(self._link)

    def replace(self, part: Part, boxes: Iterable[Box], srs_id: int) -> None:
        """Replace the boxes of a part, in one transaction."""
        ids = (part.ids.start, part.ids.stop)
        digests = self.digests
        digests.pop(part.number, None)
        if part.amount:
            digests[part.number] = part.digest
        written = orjson.dumps(digests, option=orjson.OPT_NON_STR_KEYS).decode()
        with self._link:
            self._link.execute("DELETE FROM files WHERE fid >= ? AND fid < ?", ids)
            self._link.execute("DELETE FROM rtree_files_geom WHERE id >= ? AND id < ?", ids)
            for box in boxes:
                self._insert(box, srs_id)
            self._link.execute(
                "UPDATE gpkg_metadata SET metadata = ? WHERE md_standard_uri = ?", (written, OWN)
            )

    def _insert(self, box: Box, srs_id: int) -> None:
        west, south, east, north = box.bounds
        row = (box.fid, box_geometry(box.bounds, srs_id), *box[2:])
        self._link.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        index = (box.fid, west, east, south, north)
        self._link.execute("INSERT INTO rtree_files_geom VALUES (?, ?, ?, ?, ?)", index)

    def finish(
        self, srs: tuple[int, str, str, int, str], bounds: Bounds, metadata: Mapping[str, str]
    ) -> None:
        """Write the CRS, bounds and metadata of all boxes."""
        items = (
            f"<MDI key={quoteattr(key)}>{escape(value)}</MDI>" for key, value in metadata.items()
        )
        xml = f"<GDALMultiDomainMetadata><Metadata>{''.join(items)}</Metadata></GDALMultiDomainMetadata>"
        srs_id = srs[0]
        with self._link:
            self._link.execute("UPDATE gpkg_metadata SET metadata = ? WHERE id = 1", (xml,))
            self._link.execute(
                "INSERT OR REPLACE INTO gpkg_spatial_ref_sys "
                "(srs_id, srs_name, organization, organization_coordsys_id, definition) VALUES (?, ?, ?, ?, ?)",
                srs,
            )
            self._link.execute("DELETE FROM gpkg_geometry_columns")
            self._link.execute("DELETE FROM gpkg_contents")
            self._link.execute(
                "INSERT INTO gpkg_contents (table_name, data_type, identifier, min_x, min_y, max_x, max_y, srs_id) "
                "VALUES ('files', 'features', 'files', ?, ?, ?, ?, ?)",
                (*bounds, srs_id),
            )
            self._link.execute(
                "INSERT INTO gpkg_geometry_columns VALUES ('files', 'geom', 'POLYGON', ?, 0, 0)",
                (srs_id,),
            )
        self._link.executescript((SQL / "triggers.sql").read_text())


@contextmanager
def open_geopackage(path: Path) -> Iterator[GeoPackage]:
    """Open an export for writing; create it if there is no file. Raises CatalogueError if the file is not an export."""
    with closing(sqlite3.connect(path)) as link:
        if digests_of(path) is None:
            link.executescript(f"BEGIN; {(SQL / 'tables.sql').read_text()}")
            link.execute(
                "INSERT INTO gpkg_metadata (md_standard_uri, mime_type, metadata) VALUES (?, 'application/json', '{}')",
                (OWN,),
            )
            link.commit()
        triggers = link.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:  # SQLite cannot run them without extensions
            link.execute(f'DROP TRIGGER "{name}"')
        link.commit()
        yield GeoPackage(link)


def digests_of(path: Path) -> dict[int, str] | None:
    """Return the digests in a file; None if there is no file. Raises CatalogueError if it is not an export."""
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        with closing(sqlite3.connect(path)) as link:
            return read_digests(link)
    except (sqlite3.DatabaseError, LookupError) as error:
        raise CatalogueError(
            f"{path} is not an export of rastersources; give another file"
        ) from error


def read_digests(link: sqlite3.Connection) -> dict[int, str]:
    """Return the digests of the written parts. Raises LookupError if the file has none."""
    row = link.execute(
        "SELECT metadata FROM gpkg_metadata WHERE md_standard_uri = ?", (OWN,)
    ).fetchone()
    if row is None:
        raise LookupError(OWN)
    return {int(number): digest for number, digest in orjson.loads(row[0]).items()}


def box_geometry(bounds: Bounds, srs_id: int) -> bytes:
    """Return a box in the binary format of GeoPackage: a header with the bounds, then WKB."""
    west, south, east, north = bounds
    head = struct.pack("<2sBBi4d", b"GP", 0, 0b11, srs_id, west, east, south, north)
    ring = (west, south, east, south, east, north, west, north, west, south)
    return head + struct.pack("<BIII10d", 1, 3, 1, 5, *ring)


def srs_row(wkt: str, projection: str | None) -> tuple[int, str, str, int, str]:
    """Return a CRS as a row of gpkg_spatial_ref_sys; `projection` is its code, such as EPSG:28992."""
    crs = CRS.from_wkt(wkt)
    try:
        definition = crs.to_wkt("WKT1_GDAL")
    except CRSError:  # the older WKT cannot express some projections
        definition = wkt
    number = int(projection.partition(":")[2]) if projection else CUSTOM_SRS
    return number, crs.name, "EPSG" if projection else "NONE", number, definition
