"""Sets up sessions, even through a pooler such as PgBouncer that uses another session for each transaction.

A pooler is detected in two ways: it reports another process id than the session, or it rejects options of the
connection. After that no statement is prepared on the server, and each transaction sets the options.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import Connection, Dialect, Engine, event

from pipeline.database.connection_errors import TRANSACTION_POOLING
from pipeline.errors import CatalogueError

TIME_ZONE = "SET timezone TO 'UTC'"
"""PgBouncer keeps this setting for a client in all sessions, but no other setting that we need."""
PROCESS_ID = "SELECT pg_backend_pid()"
ATTEMPTS = 3
"""Number of comparisons of two transactions; a busy pooler may assign both the same session by chance."""


class SessionSettings:
    """Event listeners that set up the connections of an engine."""

    def __init__(self, engine: Engine, options: Mapping[str, str], *, prepare: bool) -> None:
        self.pooled = not prepare
        """Whether a transaction pooler was detected, or the settings name one."""
        self._options = options
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "connect", self._recognise_pooler)
        event.listen(engine, "begin", self._set_options)
        event.listen(engine, "begin", set_run)

    def _connect(self, dialect: Dialect, _: object, cargs: Any, parameters: dict[str, Any]) -> Any:
        """Connect with the options, or without them if a pooler rejects them."""
        if not self.pooled:
            settings = [f"-c {name}={value}" for name, value in self._options.items()]
            options = " ".join([parameters.get("options", ""), *settings]).strip()
            try:
                return dialect.connect(*cargs, **{**parameters, "options": options})
            except psycopg.OperationalError as error:
                if "unsupported startup parameter" not in str(error):
                    raise
                self.pooled = True
        return dialect.connect(*cargs, **parameters)

    def _recognise_pooler(self, adapted: Any, _: object) -> None:
        """Compare the process id of the session with the one that the connection reports."""
        driver = getattr(adapted, "driver_connection", adapted)
        cursor = adapted.cursor()
        cursor.execute(PROCESS_ID)
        self.pooled |= cursor.fetchone() != (driver.info.backend_pid,)
        if self.pooled:
            driver.prepare_threshold = None
            cursor.execute(TIME_ZONE)
        cursor.close()
        adapted.commit()

    def _set_options(self, connection: Connection) -> None:
        """Set the options for one transaction, if the connection was made without them."""
        if self.pooled and connection.get_execution_options().get("isolation_level") is None:
            settings = (f"SET LOCAL {name} = '{value}'" for name, value in self._options.items())
            connection.exec_driver_sql("; ".join(settings))


def set_run(connection: Connection) -> None:
    """Set the id of the run for a transaction, if the engine comes from `engine_of_run`."""
    if run := connection.get_execution_options().get("run"):
        connection.exec_driver_sql("SELECT set_config('rastersources.run', %s, true)", (str(run),))


def require_session(engine: Engine, connection: psycopg.Connection[Any]) -> None:
    """Raise CatalogueError if a pooler assigns each transaction of a connection to another session.

    The connection must be in autocommit mode.
    """
    if backend_pid(connection) == connection.info.backend_pid:
        return
    for _ in range(ATTEMPTS):
        process = backend_pid(connection)
        with engine.begin() as another:
            other_process = another.exec_driver_sql(PROCESS_ID).scalar_one()
            if other_process == process or backend_pid(connection) != process:
                raise CatalogueError(TRANSACTION_POOLING)


def backend_pid(connection: psycopg.Connection[Any]) -> int:
    """Return the id of the server process of a session."""
    row = connection.execute(PROCESS_ID).fetchone()
    assert row is not None
    return int(row[0])
