"""The schema: SQL and SQLAlchemy agree, migrations go down and up, and constraints reject wrong data."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from shutil import copytree

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from geoalchemy2 import Geometry
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import IntegrityError

from pipeline.database import migrations, schema_version
from pipeline.database.engine import make_engine
from pipeline.database.migrations import Revisions, downgrade, migrate
from pipeline.database.schema_version import SCRIPTS, newest_revision
from pipeline.database.tables import metadata
from pipeline.errors import CatalogueError
from tests.conftest import new_database


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


def test_the_tables_of_sqlalchemy_and_of_the_database_agree_both_ways(
    connection: Connection,
) -> None:
    def is_ours(
        thing: object, name: str | None, kind: str, reflected: bool, compared: object
    ) -> bool:
        in_sql_only = kind in ("index", "unique_constraint")
        partition = str(name).startswith("source_names_")
        return not (in_sql_only or partition or name in ("spatial_ref_sys", "alembic_version"))

    options = {"compare_type": True, "include_object": is_ours}
    differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    assert [difference for difference in differences if "comment" not in str(difference[0])] == []


def test_sqlalchemy_and_postgis_agree_on_the_geometry_columns(connection: Connection) -> None:
    query = "SELECT f_table_name, f_geometry_column, type, srid FROM geometry_columns"
    live = {
        (table, column): f"geometry({kind},{srid})".upper()
        for table, column, kind, srid in connection.execute(text(query))
        if table in metadata.tables
    }
    assert live == {
        (table.name, column.name): f"GEOMETRY({column.type.geometry_type},{column.type.srid})"
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
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
              AND relname NOT IN ('alembic_version', 'spatial_ref_sys', 'geometry_columns', 'geography_columns')
              AND (col_description(pg_class.oid, attnum) IS NULL OR obj_description(pg_class.oid) IS NULL)
        """)
    ).all()
    assert without == []


OBJECTS = """
WITH ours AS (
    SELECT oid, relname, relkind, relrowsecurity, reloptions FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic_version%'
      AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
), functions AS (
    SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
)
SELECT 'relation', relname, concat_ws(' ', relkind, relrowsecurity, reloptions) FROM ours
UNION ALL
SELECT 'column', format('%s.%s', relname, attname), concat_ws(' ', format_type(atttypid, atttypmod), attnotnull,
       attidentity, attgenerated, pg_get_expr(adbin, adrelid))
FROM ours JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relkind IN ('r', 'p', 'v')
UNION ALL SELECT 'index', relname, pg_get_indexdef(oid) FROM ours WHERE relkind IN ('i', 'I')
UNION ALL SELECT 'view', relname, pg_get_viewdef(oid) FROM ours WHERE relkind = 'v'
UNION ALL SELECT 'constraint', format('%s.%s', relname, conname), pg_get_constraintdef(pg_constraint.oid)
FROM ours JOIN pg_constraint ON conrelid = ours.oid
UNION ALL SELECT 'trigger', format('%s.%s', relname, tgname), pg_get_triggerdef(pg_trigger.oid)
FROM ours JOIN pg_trigger ON tgrelid = ours.oid AND NOT tgisinternal
UNION ALL SELECT 'policy', format('%s.%s', tablename, policyname), qual FROM pg_policies
UNION ALL SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid) FROM functions
UNION ALL SELECT 'comment', pg_describe_object(classoid, objoid, objsubid), description
FROM pg_description WHERE objoid IN (SELECT oid FROM ours UNION ALL SELECT oid FROM functions)
"""
"""Selects kind, name and definition of everything in the schema, without the order of the columns of a table."""


def objects(engine: Engine) -> set[tuple[str, ...]]:
    with engine.connect() as connection:
        return {tuple(row) for row in connection.execute(text(OBJECTS))}


def test_every_migration_goes_down_and_up_again(server: str) -> None:
    with new_database(server, "template1") as url:
        engine = make_engine(url)
        empty = objects(engine)
        assert migrate(engine) == (None, newest_revision())
        full = objects(engine)
        assert downgrade(engine, "base") == (newest_revision(), None)
        left = objects(engine)
        migrate(engine)
        again = objects(engine)
        engine.dispose()
    assert len(full) > 500
    assert left == empty
    assert again == full


def objects_of_files(server: str, folder: Path) -> set[tuple[str, ...]]:
    """Return the objects of a new database that was made by the files of a schema, without migrations."""
    with new_database(server, "template1") as url:
        with psycopg.connect(url) as connection:
            for file in sorted(folder.glob("*.sql")):
                connection.execute(file.read_bytes())
        engine = make_engine(url)
        result = objects(engine)
        engine.dispose()
    return result


def test_the_migrations_lead_to_the_schema_of_the_files(server: str, engine: Engine) -> None:
    assert objects(engine) == objects_of_files(server, SCRIPTS / "schema")


COLUMN = "city text NOT NULL DEFAULT '' CHECK (length(city) <= 9)"
COMMENT = "COMMENT ON COLUMN organisations.city IS 'Where it is.';"
MIGRATION = f"""
from sql import execute
revision, down_revision = "0002_city", "0001_initial"
def upgrade(): execute("ALTER TABLE organisations ADD {COLUMN}; {{comment}}")
def downgrade(): execute("ALTER TABLE organisations DROP city")
"""


@pytest.mark.parametrize(
    ("comment", "difference"),
    [
        (COMMENT, set()),
        ("", {("comment", "column city of table organisations", "Where it is.")}),
    ],
    ids=["whole", "without its comment"],
)
def test_a_second_migration_is_compared_with_the_schema_of_the_files(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    comment: str,
    difference: set[tuple[str, ...]],
) -> None:
    scripts = tmp_path / "a folder" / "sql"
    copytree(SCRIPTS, scripts)
    copytree(scripts / "schema", scripts / "migrations" / "0001_initial")
    people = scripts / "schema" / "02_people.sql"
    with_column = people.read_text().replace(
        "CREATE TABLE organisations (", f"CREATE TABLE organisations ({COLUMN},"
    )
    people.write_text(with_column + COMMENT)
    (scripts / "migrations" / "0002_city.py").write_text(MIGRATION.format(comment=comment))
    for module in (migrations, schema_version):
        monkeypatch.setattr(module, "SCRIPTS", scripts)
    with new_database(server, "template1") as url:
        engine = make_engine(url)
        assert migrate(engine, "0001_initial") == (None, "0001_initial")
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO organisations (name) VALUES ('Owner')"))
        assert migrate(engine) == ("0001_initial", "0002_city")
        migrated = objects(engine)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT name, city FROM organisations")).one() == (
                "Owner",
                "",
            )
        downgrade(engine, "-1")
        assert objects(engine) == objects_of_files(server, SCRIPTS / "schema")
        engine.dispose()
    fresh = objects_of_files(server, scripts / "schema")
    assert fresh - migrated == difference
    assert migrated <= fresh


@pytest.mark.parametrize("step", [migrate, downgrade])
def test_a_schema_from_before_the_first_release_is_refused(
    server: str, step: Callable[[Engine, str], Revisions]
) -> None:
    with new_database(server, "template1") as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32))"))
            connection.execute(text("INSERT INTO alembic_version VALUES ('0015')"))
        with pytest.raises(CatalogueError, match=r"revision 0015.*create a new database"):
            step(engine, "head")
        engine.dispose()


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
    "an interval of zero length": "declared_interval = '0'",
    "an organisation that does not exist": "organisation_id = -1",
}


@pytest.mark.parametrize("assignment", WRONG.values(), ids=WRONG.keys())
def test_a_constraint_rejects_wrong_values(connection: Connection, assignment: str) -> None:
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
        modified: datetime = connection.execute(text(statement), {"name": name}).scalar_one()
        return modified

    first = connection.execute(text("SELECT last_modified FROM raster_sources")).scalar_one()
    assert update("a") == first
    assert update("b") > first


@pytest.mark.parametrize("tiles", [1, 7, 13, 36, 49, 100])
def test_tiles_all_around_the_earth_leave_no_gap(connection: Connection, tiles: int) -> None:
    width = 360 / tiles
    wests = [-180 + tile * width for tile in range(tiles)]
    easts = [min(west + width, 180.0) for west in wests]
    union = connection.execute(
        text("SELECT west, east FROM union_longitudes(:wests, :easts)"),
        {"wests": wests, "easts": easts},
    ).one()
    assert tuple(union) == (-180, 180)


def test_the_union_of_tiles_begins_after_a_true_gap(connection: Connection) -> None:
    query = text("SELECT west, east FROM union_longitudes(:wests, :easts)")
    # a kilometre is 0.009 degrees of the equator
    ends = {"wests": [-180.0, 10.009], "easts": [10.0, 180.0]}
    assert tuple(connection.execute(query, ends).one()) == (10.009, 10)


@pytest.mark.parametrize(
    ("step", "code"), [(0.0, None), (9e-7, None), (1.1e-6, "pixelsize_mismatch")]
)
@pytest.mark.parametrize("size", [0.1, 1, 2.5, 10, 99.9])
def test_pixel_sizes_fit_within_a_millionth(
    connection: Connection, size: float, step: float, code: str | None
) -> None:
    query = text("""
        SELECT grid_mismatch(ROW('EPSG:28992', CAST(:size AS float), -CAST(:size AS float), 'f4')::grid,
                             ROW('EPSG:28992', CAST(:other AS float), -CAST(:other AS float), 'f4')::grid)
    """)
    for other in (size * (1 + step), size * (1 - step)):
        assert connection.scalar(query, {"size": size, "other": other}) == code
