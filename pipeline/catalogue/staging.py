"""Copies facts of raster files to the temporary table `staged`; one statement then writes them to raster_files."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, text

from pipeline.catalogue.file_row import COLUMNS, FileRow, copy_text
from pipeline.database.engine import driver_connection
from pipeline.database.queries import queries

QUERIES = queries("staging")
ADDED = ("coordinate_system_id", "definition", "reading_hash", "uri", "fingerprint")
"""The columns in addition to those of a `FileRow`."""
COPIED = ", ".join(("position", "group_key", *ADDED, *COLUMNS))
WRITTEN = ", ".join(("source_id", *ADDED, *COLUMNS))
EXCLUDED = ", ".join(f"excluded.{name}" for name in ("source_id", *ADDED, *COLUMNS))
WRITE = text(f"""
    INSERT INTO raster_files ({WRITTEN}) SELECT {WRITTEN} FROM staged ORDER BY position
    ON CONFLICT (source_id, uri) DO UPDATE
    SET (state, registered, registered_by, {WRITTEN}) = ('present', now(), current_run(), {EXCLUDED})
""")  # noqa: S608 - names of columns


def stage(
    connection: Connection,
    files: Sequence[tuple[str | None, FileRow]],
    definition: str | None,
    reading_hash: str | None,
) -> None:
    """Create the table `staged` and copy files with their group keys into it; it is dropped with the transaction.

    `definition` is the id of the definition or drop folder; None for uploads. Then the caller must set `source_id`.
    The sources must be locked, because this writes CRSs.
    """
    connection.execute(QUERIES["create_staged"])
    if not files:
        return
    systems = _coordinate_systems(connection, (file for _, file in files))
    same = f"{copy_text(definition)}\t{copy_text(reading_hash)}"
    lines = [
        f"{position}\t{copy_text(key)}\t{systems[file.wkt]}\t{same}\t{copy_text(file.uri)}"
        f"\t{copy_text(file.fingerprint)}\t{file.values}\n"
        for position, (key, file) in enumerate(files)
    ]
    cursor = driver_connection(connection).cursor()
    with cursor.copy(f"COPY staged ({COPIED}) FROM STDIN") as copy:
        copy.write("".join(lines))


def _coordinate_systems(connection: Connection, files: Iterable[FileRow]) -> dict[str, int]:
    """Return WKT -> id of the CRSs of files; add new ones."""
    projections = {file.wkt: file.projection for file in files}
    systems = {"wkts": list(projections), "projections": list(projections.values())}
    connection.execute(QUERIES["insert_coordinate_systems"], systems)
    rows = connection.execute(QUERIES["find_coordinate_systems"], systems)
    return {row.wkt: row.id for row in rows}


def write_staged(connection: Connection) -> None:
    """Insert or update the raster files of the staged rows, which must have a `source_id`."""
    connection.execute(WRITE)
