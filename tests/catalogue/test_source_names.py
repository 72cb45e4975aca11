"""A search in the names of raster sources finds the rows of their table, for every caller, filter and order."""

from collections.abc import Sequence
from itertools import cycle, product

import pytest
from sqlalchemy import Connection, Engine, func, select, text

from pipeline.catalogue.access import ANONYMOUS, Caller, readable
from pipeline.catalogue.filters import filters_by_parameter
from pipeline.catalogue.lists import RASTER_SOURCES
from pipeline.catalogue.select_rows import (
    Predicate,
    count_statement,
    page_statement,
    sort_keys,
)
from pipeline.database.tables import raster_sources

NAMES = ["Straße", "STRASSE", "a%b", "A_B", "a\\b", "ſee", "SEE", "ίος", "ab", "Abab"]
PIECES = {
    "iexact": ["straße", "see", "AB"],
    "icontains": ["A", "ss", "%", "_", "\\", "ſ", "ΟΣ", "ababab"],
    "istartswith": ["a", "s"],
    "iendswith": ["E", "b"],
}
LIKE = {"icontains": "%{}%", "istartswith": "{}%", "iendswith": "%{}"}
OTHER_FILTERS = [{}, {"in_bbox": "0,0,3.5,3"}, {"access_modifier": "Private"}, {"temporal": "true"},
                 {"supplier__isnull": "true"}, {"scenario__isnull": "true"}, {"name__contains": "A"}]  # fmt: skip
ORDERS = ["", "", "-name", "size,-id"]
"""Their number has no factor in common with that of the other filters, so that all pairs are tested."""


@pytest.fixture(scope="module")
def callers(engine: Engine) -> list[Caller]:
    """Fill the catalogue; return callers with different rights."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE raster_sources CASCADE"))
        first_owner, second_owner = connection.execute(
            text("INSERT INTO organisations (name) VALUES ('n 1'), ('n 2') RETURNING id")
        ).scalars()
        supplier = connection.execute(
            text("INSERT INTO users (username) VALUES ('n') RETURNING id")
        ).scalar_one()
        fill = text("""
            INSERT INTO raster_sources (name, organisation_id, access_modifier, supplier_id, temporal, file_count,
                west, south, east, north, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y,
                size, dtype)
            SELECT name, owner, access, nullif(supplier, 0), n % 3 = 0, 1,
                n % 7, 0, n % 7 + 1, 1, 0, 0, 1, 1, 1, 1, n % 5, 'f4'
            FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS named (name, n),
                 unnest(CAST(:owners AS bigint[])) AS owner, unnest(ARRAY[0, 100, 200, 300]) AS access,
                 unnest(CAST(:suppliers AS bigint[])) AS supplier""")
        connection.execute(
            fill,
            {"names": NAMES, "owners": [first_owner, second_owner], "suppliers": [0, supplier]},
        )
    first_only = frozenset([first_owner])
    return [
        ANONYMOUS,
        Caller(user_id=0),
        Caller(user_id=supplier, reads=first_only, supplies=first_only),
        Caller(user_id=0, reads=first_only, administers=frozenset([second_owner])),
    ]


def make_conditions(caller: Caller, **query: str) -> list[Predicate]:
    """Return the conditions of the parameters of a query."""
    known = filters_by_parameter(RASTER_SOURCES.filters)
    tests = [(*known[name], value) for name, value in query.items()]
    return [row.condition(row.parse(lookup, value), caller) for row, lookup, value in tests]


def plain_condition(lookup: str, piece: str) -> Predicate:
    """Return the condition on the names in the table itself."""
    upper = func.upper(raster_sources.c.name)
    if lookup == "iexact":
        return upper == func.upper(piece)
    escaped = piece.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return upper.like(func.upper(LIKE[lookup].format(escaped)))


@pytest.mark.parametrize(
    ("lookup", "piece"), [(lookup, piece) for lookup, pieces in PIECES.items() for piece in pieces]
)
def test_a_search_finds_the_rows_of_the_table(
    engine: Engine, callers: Sequence[Caller], lookup: str, piece: str
) -> None:
    with engine.connect() as connection:
        for (caller, others), order in zip(product(callers, OTHER_FILTERS), cycle(ORDERS)):
            other = make_conditions(caller, **others)
            keys = sort_keys(RASTER_SOURCES, order, caller)
            expected = connection.scalars(
                select(raster_sources.c.id)
                .where(readable(raster_sources, caller), plain_condition(lookup, piece), *other)
                .order_by(*(key.sort(key.column) for key in keys))
            ).all()
            where = [*make_conditions(caller, **{f"name__{lookup}": piece}), *other]
            page = connection.execute(
                page_statement(RASTER_SOURCES, caller, where, order, 1000, 0)
            ).all()
            assert [row.id for row in page] == list(expected)
            assert {row.total for row in page} <= {len(expected)}


def test_a_search_without_other_filters_reads_the_names_alone(
    engine: Engine, callers: Sequence[Caller]
) -> None:
    searches = {"name__icontains": "ab"}, {"name__icontains": "ab", "temporal": "true"}
    with engine.connect() as connection:
        plans = [
            connection.scalars(
                text(f"EXPLAIN {as_text(connection, make_conditions(ANONYMOUS, **query))}")
            ).all()
            for query in searches
        ]
    names_only, with_filter = ("\n".join(lines) for lines in plans)
    assert "source_names_public" in names_only
    assert "source_names_other" not in names_only + with_filter
    assert "raster_sources" not in names_only
    assert "raster_sources" in with_filter


def as_text(connection: Connection, where: list[Predicate]) -> str:
    """Return the statement that counts what conditions find, with their values."""
    statement = count_statement(RASTER_SOURCES, ANONYMOUS, where)
    compiled = statement.compile(connection, compile_kwargs={"literal_binds": True})
    return str(compiled).replace("%%", "%")
