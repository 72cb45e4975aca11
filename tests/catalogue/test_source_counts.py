"""The counters and names of raster sources are exact in every snapshot, also while writers work and are killed."""

from random import Random
from threading import Thread

import psycopg
import pytest
from sqlalchemy import Engine, text

from pipeline.catalogue.access import ANONYMOUS, Caller
from pipeline.catalogue.lists import RASTER_SOURCES
from pipeline.catalogue.select_rows import count_statement

WRITERS, STATEMENTS = 4, 60
GROUP = "organisation_id, access_modifier, CASE WHEN access_modifier = 300 THEN supplier_id END"
COUNTED = f"SELECT {GROUP}, count(*), sum(file_count) FROM raster_sources GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
SUMMED = """
SELECT organisation_id, access_modifier, hidden_supplier_id, sum(amount)::bigint, sum(files)::bigint FROM source_counts
GROUP BY 1, 2, 3 HAVING sum(amount) <> 0 ORDER BY 1, 2, 3
"""
NAMES = "SELECT id, organisation_id, supplier_id, access_modifier, name_upper FROM source_names ORDER BY id"
NAMED = "SELECT id, organisation_id, supplier_id, access_modifier, upper(name) FROM raster_sources ORDER BY id"


@pytest.fixture(scope="module")
def owners(engine: Engine) -> list[int]:
    """The ids of three organisations, in a catalogue with two users and without raster sources."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE raster_sources CASCADE"))
        connection.execute(text("INSERT INTO users (username) VALUES ('s 1'), ('s 2')"))
        ids = connection.execute(
            text("INSERT INTO organisations (name) VALUES ('o 1'), ('o 2'), ('o 3') RETURNING id")
        )
        return list(ids.scalars())


def write(url: str, seed: int, backends: list[int]) -> None:
    """Write at random, one to three statements in a transaction; a quarter of the transactions rolls back."""
    random = Random(seed)
    written = 0
    while written < STATEMENTS:
        try:
            with psycopg.connect(url) as connection:
                backends.append(connection.info.backend_pid)
                while written < STATEMENTS:
                    for _ in range(random.randint(1, 3)):
                        connection.execute(random.choice(CHANGES), prepare=False)
                        written += 1
                    if random.random() < 0.25:
                        connection.rollback()
                    else:
                        connection.commit()
        except psycopg.OperationalError:  # killed, or in a deadlock with another writer
            continue


ANY_OWNER = "(SELECT id FROM organisations ORDER BY random() LIMIT 1)"
ANY_SUPPLIER = "(SELECT id FROM users ORDER BY random() LIMIT 1)"
ANY_ACCESS = "(ARRAY[0, 100, 200, 300])[1 + floor(random() * 4)::int]"
SOME = "(SELECT id FROM raster_sources ORDER BY random() LIMIT 7 FOR UPDATE SKIP LOCKED)"
CHANGES = [
    f"""INSERT INTO raster_sources (name, organisation_id, access_modifier, supplier_id)
        SELECT 'r', {ANY_OWNER}, {ANY_ACCESS}, {ANY_SUPPLIER} FROM generate_series(1, 9)""",
    f"UPDATE raster_sources SET access_modifier = {ANY_ACCESS} WHERE id IN {SOME}",
    f"UPDATE raster_sources SET organisation_id = {ANY_OWNER}, supplier_id = {ANY_SUPPLIER} WHERE id IN {SOME}",
    f"""UPDATE raster_sources SET (file_count, west, south, east, north, origin_x, origin_y, upper_bound_x,
        upper_bound_y, pixelsize_x, pixelsize_y, size, dtype)
        = (1 + floor(random() * 5)::int, 0, 0, 1, 1, 0, 0, 1, 1, 1, -1, 9, 'u1') WHERE id IN {SOME}""",
    f"UPDATE raster_sources SET name = name || '.' WHERE id IN {SOME}",
    f"DELETE FROM raster_sources WHERE id IN {SOME}",
]


def test_counters_and_names_are_exact_while_writers_work_and_are_killed(
    engine: Engine, database_url: str, owners: list[int]
) -> None:
    backends: list[int] = []
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    writers = [Thread(target=write, args=(url, seed, backends)) for seed in range(WRITERS)]
    for writer in writers:
        writer.start()
    comparisons, random = 0, Random(5)
    while any(writer.is_alive() for writer in writers) or not comparisons:
        with psycopg.connect(url) as reader:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            assert reader.execute(SUMMED).fetchall() == reader.execute(COUNTED).fetchall()
            assert reader.execute(NAMES).fetchall() == reader.execute(NAMED).fetchall()
            comparisons += 1
        if backends and random.random() < 0.2:
            with psycopg.connect(url, autocommit=True) as killer:
                killer.execute("SELECT pg_terminate_backend(%s)", [random.choice(backends)])
    for writer in writers:
        writer.join()
    with engine.connect() as connection:
        assert connection.execute(text(SUMMED)).all() == connection.execute(text(COUNTED)).all()
        rows = connection.execute(text("SELECT count(*) FROM source_counts")).scalar_one()
        assert rows < 24 + 3 * 64, "old rows are not summed"


def test_a_writer_does_not_wait_for_the_counts_of_another(
    engine: Engine, owners: list[int]
) -> None:
    insert = text("INSERT INTO raster_sources (name, organisation_id) VALUES ('r', :owner)")
    with engine.connect() as first, engine.connect() as second:
        for _ in range(70):  # more rows than are kept before they are summed
            first.execute(insert, {"owner": owners[0]})
        second.execute(text("SET LOCAL lock_timeout = '1s'"))
        for _ in range(70):
            second.execute(insert, {"owner": owners[0]})
        first.rollback()
        second.rollback()


def test_a_list_is_counted_by_the_counters_for_every_caller(
    engine: Engine, owners: list[int]
) -> None:
    with engine.begin() as connection:
        for access in (0, 100, 200, 300):
            for owner in owners:
                connection.execute(
                    text("""INSERT INTO raster_sources (name, organisation_id, access_modifier, supplier_id)
                            SELECT 'r', :owner, :access, id FROM users WHERE username IN ('s 1', 's 2')"""),
                    {"owner": owner, "access": access},
                )
        supplier = connection.execute(
            text("SELECT id FROM users WHERE username = 's 1'")
        ).scalar_one()
    first_owner = frozenset(owners[:1])
    callers = [
        ANONYMOUS,
        Caller(user_id=supplier),
        Caller(user_id=supplier, reads=first_owner, supplies=first_owner),
        Caller(user_id=0, reads=first_owner, administers=first_owner),
    ]
    with engine.connect() as connection:
        for caller in callers:
            statement = count_statement(RASTER_SOURCES, caller, [])
            assert "source_counts" in str(statement)
            visible = RASTER_SOURCES.visible(caller)
            rows = connection.execute(RASTER_SOURCES.table.select().where(visible)).all()
            assert connection.execute(statement).scalar_one() == len(rows)


def test_other_filters_are_not_counted_by_the_counters() -> None:
    table = RASTER_SOURCES.table.c
    for condition, uses_counters in (
        (table.organisation_id == 1, True),
        (table.access_modifier == 0, True),
        (table.supplier_id.is_(None), False),
        (table.temporal, False),
        (table.id == 1, False),
    ):
        statement = str(count_statement(RASTER_SOURCES, ANONYMOUS, [condition]))
        assert ("source_counts" in statement) == uses_counters


def test_the_triggers_of_the_counters_are_never_off(engine: Engine) -> None:
    """Only administrators can switch these triggers off, as sessions do that restore a dump."""
    query = "SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'raster_sources'::regclass AND tgname LIKE '%count%'"
    with engine.connect() as connection:
        assert connection.exec_driver_sql(query.replace("%", "%%")).scalars().all() == ["A"] * 3
