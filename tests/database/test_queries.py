"""A live database parses each named statement of sql/queries."""

import gc
import re
import weakref
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.dialects.postgresql import dialect
from sqlalchemy.exc import ProgrammingError

from pipeline.database import queries as module
from pipeline.database.queries import FOLDER, number_parameters, queries

TOPICS = sorted(path.stem for path in FOLDER.glob("*.sql"))
STATEMENTS = [(topic, name) for topic in TOPICS for name in queries(topic)]
NUMBERED = dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
COMMENTS = re.compile(r"--.*$", re.MULTILINE)
UTILITY = ("CREATE", "ALTER", "ANALYZE", "TRUNCATE", "DROP", "LOCK", "SET", "COPY")
"""Statements that PREPARE does not accept. The test runs them instead; COPY gets no rows."""


def verb(statement: TextClause) -> str:
    return COMMENTS.sub("", statement.text).split()[0].upper()


def make_temporary_tables(connection: Connection, topic: str) -> None:
    """Create the temporary tables of a topic, then those of other topics, in any order that works."""
    waiting = [
        queries(other)[name]
        for other, name in sorted(STATEMENTS, key=lambda pair: (pair[0] != topic, pair))
        if verb(queries(other)[name]) == "CREATE"
    ]
    while waiting:
        left = []
        for statement in waiting:
            try:
                with connection.begin_nested():
                    run(connection, statement)
            except ProgrammingError as error:
                if isinstance(error.orig, psycopg.errors.UndefinedTable):
                    left.append(statement)
                elif not isinstance(error.orig, psycopg.errors.DuplicateTable):
                    raise
        assert len(left) < len(waiting), left
        waiting = left


def run(connection: Connection, statement: TextClause) -> None:
    """Run a statement that PREPARE does not accept, with null for its parameters."""
    connection.execute(text(re.sub(r"(?<![:\w\\]):\w+", "NULL", statement.text)))


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


@pytest.mark.parametrize(("topic", "name"), STATEMENTS, ids=map("-".join, STATEMENTS))
def test_a_database_parses_each_named_statement(
    connection: Connection, topic: str, name: str
) -> None:
    statement = queries(topic)[name]
    make_temporary_tables(connection, topic)
    if verb(statement) == "COPY":
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with driver.cursor().copy(statement.text):
            pass
    elif verb(statement) in UTILITY:
        if verb(statement) != "CREATE":  # make_temporary_tables has run it
            run(connection, statement)
    else:
        numbered = statement.compile(dialect=NUMBERED)
        connection.exec_driver_sql(f"PREPARE statement AS {numbered}")
        connection.exec_driver_sql("DEALLOCATE statement")


@pytest.mark.parametrize(
    "content",
    ["SELECT 1;\n", "-- name: one\nSELECT 1;\n\n-- name: one\nSELECT 2;\n"],
    ids=["without a name", "with a name twice"],
)
def test_each_statement_needs_a_name_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    folder = tmp_path_factory.mktemp("queries")
    (folder / "topic.sql").write_text(content)
    monkeypatch.setattr(module, "FOLDER", folder)
    queries.cache_clear()
    with pytest.raises(ValueError, match="a unique name"):
        queries("topic")
    queries.cache_clear()


def test_numbered_statements_are_forgotten() -> None:
    """Filters of anyone make new statements: a cache without a limit would grow with each of them."""
    made = weakref.ref(number_parameters("SELECT :a, :b, :a"))
    gc.collect()
    assert made() is None
    numbered = number_parameters("SELECT :a, :b, :a")
    assert (numbered.text, numbered.names) == ("SELECT $1, $2, $1", ["a", "b"])
