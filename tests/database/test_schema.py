"""The schema: SQL and SQLAlchemy agree, migrations go down and up, constraints keep wrong data out."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from affine import Affine
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.exc import IntegrityError

from pipeline.database.engine import make_engine
from pipeline.database.migrations import downgrade, migrate
from pipeline.database.tables import Geometry, metadata
from pipeline.raster import ProcessReader
from tests.conftest import new_database
from tests.support.factory import write_raster
from tests.support.ingestion import registered, work_of


@pytest.fixture
def connection(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    monkeypatch.setitem(ischema_names, "geometry", Geometry)  # which SQLAlchemy does not know
    with engine.connect() as connection:
        yield connection


def test_the_tables_of_sqlalchemy_and_of_the_database_agree_both_ways(
    connection: Connection,
) -> None:
    def is_ours(
        thing: object, name: str | None, kind: str, reflected: bool, compared: object
    ) -> bool:
        return not (kind == "index" or name in ("spatial_ref_sys", "alembic_version"))

    options = {"compare_type": True, "compare_server_default": True, "include_object": is_ours}
    differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    assert [one for one in differences if "comment" not in str(one[0])] == []


def test_the_geometries_of_sqlalchemy_are_those_of_postgis(connection: Connection) -> None:
    query = "SELECT f_table_name, f_geometry_column, type, srid FROM geometry_columns"
    live = {
        (table, column): f"geometry({kind},{srid})".upper()
        for table, column, kind, srid in connection.execute(text(query))
        if table in metadata.tables
    }
    assert live == {
        (table.name, column.name): column.type.get_col_spec().upper()
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, Geometry)
    }


def test_every_nullable_column_is_nullable_on_both_sides(connection: Connection) -> None:
    inspector = inspect(connection)
    for table in metadata.sorted_tables:
        live = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
        assert live == {column.name: column.nullable for column in table.columns}, table.name


def test_every_table_and_column_has_a_comment(connection: Connection) -> None:
    without = connection.execute(
        text("""
            SELECT relname, attname FROM pg_class
            JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
              AND relname NOT IN ('alembic_version', 'spatial_ref_sys', 'geometry_columns', 'geography_columns')
              AND (col_description(pg_class.oid, attnum) IS NULL OR obj_description(pg_class.oid) IS NULL)
        """)
    ).all()
    assert without == []


def objects(engine: Engine) -> set[tuple[str, ...]]:
    """Everything in the schema that is ours: tables, columns, indexes, constraints, functions, triggers."""
    with engine.connect() as connection:
        rows = connection.execute(
            text("""
                SELECT 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod) FROM pg_attribute
                JOIN pg_class ON pg_class.oid = attrelid
                WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
                UNION ALL SELECT 'index', indexname, indexdef, '' FROM pg_indexes WHERE schemaname = 'public'
                UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
                FROM pg_constraint WHERE connamespace = 'public'::regnamespace
                UNION ALL SELECT 'function', oid::regprocedure::text, prosrc, '' FROM pg_proc
                WHERE pronamespace = 'public'::regnamespace
                  AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
                UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, '' FROM pg_trigger WHERE NOT tgisinternal
            """)
        )
        return {tuple(row) for row in rows}


def test_every_migration_goes_down_and_up_again(server: str) -> None:
    with new_database(server, "template1") as url:
        engine = make_engine(url)
        empty = objects(engine)
        migrate(engine)
        full = objects(engine)
        downgrade(engine, "base")
        left = {
            row
            for row in objects(engine) - empty
            if row[1] not in ("alembic_version", "alembic_version_pkc")
        }
        migrate(engine)
        again = objects(engine)
        engine.dispose()
    assert len(full) > len(empty)
    assert {row for row in left if "alembic_version" not in row[1]} == set()
    assert again == full


WRONG = {
    "an upper bound below the origin": "upper_bound_x = -1",
    "a temporal extent out of order": "first_value_timestamp = '2024-01-02', last_value_timestamp = '2024-01-01'",
    "half a temporal extent": "first_value_timestamp = '2024-01-02'",
    "an access modifier that is none of the four": "access_modifier = 150",
    "a blank name": "name = E' \\t'",
    "a latitude beyond the pole": "north = 91",
    "south above north": "south = 53",
    "a longitude beyond the antimeridian": "east = 181",
    "a dtype that numpy does not know": "dtype = 'float32'",
    "a pixel without width": "pixelsize_x = 0",
    "files without a size": "size = NULL",
    "an interval of nothing": "declared_interval = '0'",
    "an organisation that is not there": "organisation_id = -1",
}


@pytest.mark.parametrize("assignment", WRONG.values(), ids=WRONG.keys())
def test_the_database_refuses(connection: Connection, assignment: str) -> None:
    connection.execute(
        text("""
            WITH owner AS (INSERT INTO organisations (name) VALUES ('Owner') RETURNING id)
            INSERT INTO raster_sources (name, organisation_id, file_count, size, dtype, west, south, east, north,
                origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y)
            SELECT 'right', id, 1, 10, 'f4', 4, 51, 5, 52, 0, 0, 10, 10, 1, -1 FROM owner
        """)
    )
    with pytest.raises(IntegrityError):
        connection.execute(text(f"UPDATE raster_sources SET {assignment}"))


def test_last_modified_moves_only_when_something_changed(connection: Connection) -> None:
    connection.execute(text("INSERT INTO organisations (name) VALUES ('Owner')"))
    connection.execute(
        text("INSERT INTO raster_sources (name, organisation_id) SELECT 'a', id FROM organisations")
    )

    def update(name: str) -> datetime:
        statement = "UPDATE raster_sources SET name = :name RETURNING last_modified"
        moved: datetime = connection.execute(text(statement), {"name": name}).scalar_one()
        return moved

    first = connection.execute(text("SELECT last_modified FROM raster_sources")).scalar_one()
    assert update("a") == first
    assert update("b") > first


@pytest.mark.parametrize("tiles", [1, 7, 13, 36, 49, 100])
def test_tiles_all_around_the_earth_leave_no_gap(connection: Connection, tiles: int) -> None:
    width = 360 / tiles
    wests = [-180 + number * width for number in range(tiles)]
    easts = [min(west + width, 180.0) for west in wests]
    found = connection.execute(
        text("SELECT west, east FROM union_longitudes(:wests, :easts)"),
        {"wests": wests, "easts": easts},
    ).one()
    assert tuple(found) == (-180, 180)


def test_a_true_gap_between_tiles_is_where_their_union_begins(connection: Connection) -> None:
    query = text("SELECT west, east FROM union_longitudes(:wests, :easts)")
    # a kilometre is 0.009 degrees of the equator
    ends = {"wests": [-180.0, 10.009], "easts": [10.0, 180.0]}
    assert tuple(connection.execute(query, ends).one()) == (10.009, 10)


@pytest.mark.parametrize("step", [0.0, 1e-7, 3e-7, 1e-6, 3e-6, 1e-5])
def test_pixel_sizes_of_one_class_fit(connection: Connection, step: float) -> None:
    query = text("""
        SELECT max(size) / min(size) - 1 FROM (
            SELECT base * (1 + :step * number / 100) AS size
            FROM unnest(ARRAY[0.1, 1, 2.5, 10, 99.9]) AS base, generate_series(-100, 100) AS number) AS sizes
        GROUP BY grid_class('EPSG:28992', '', size, -size, 'f4')
    """)
    # the millionth part within which REFUSE_MISFITS takes them for equal
    assert max(connection.execute(query, {"step": step}).scalars()) <= 1e-6


def test_an_upgrade_closes_gaps_of_rounding_and_has_refused_grids_read_again(
    server: str, pool: ProcessReader, tmp_path: Path
) -> None:
    for number in range(7):
        place = Affine(360 / 70, 0, number * 360 / 7 - 180, 0, -1, 5)
        write_raster(tmp_path / f"tile{number}.tif", crs="EPSG:4326", transform=place)
    write_raster(tmp_path / "z.tif")
    query = text("SELECT file_count, west, east, last_modified FROM raster_sources ORDER BY 1")
    with new_database(server, "template1") as url:
        engine = make_engine(url)
        migrate(engine, "0006")
        registered(engine, pool.read, work_of([tmp_path / "z.tif"], id="other"))
        report = registered(engine, pool.read, work_of([tmp_path], group="all", name="mosaic"))
        with engine.connect() as connection:
            other, mosaic = connection.execute(query).all()
        migrate(engine)
        with engine.connect() as connection:
            other_now, mosaic_now = connection.execute(query).all()
            changed = connection.scalar(
                text("SELECT count(*) FROM changes WHERE was_access_modifier IS NOT NULL")
            )
            refused = connection.execute(text("SELECT uri, fingerprint FROM rejected_files")).all()
        engine.dispose()
    assert [one.code for one in report.rejected] == ["projection_mismatch"]
    assert (mosaic.file_count, mosaic.west > mosaic.east) == (7, True)
    assert (mosaic_now.file_count, mosaic_now.west, mosaic_now.east) == (7, -180, 180)
    assert mosaic_now.last_modified > mosaic.last_modified
    assert other_now == other
    assert changed == 1
    assert [tuple(one) for one in refused] == [(report.rejected[0].uri, None)]
