"""What a connection is told, also through a pooler such as PgBouncer, which gives each transaction another session.

A pooler names itself as the process of the session, or refuses options; by either it is found out. Then nothing is
prepared on the server, and settings hold for one transaction.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import Connection, Dialect, Engine, event

from pipeline.database.connection_errors import TRANSACTION_POOLING
from pipeline.errors import CatalogueError

TIME_ZONE = "SET timezone TO 'UTC'"
"""The one setting that PgBouncer itself keeps for a client, whatever session that gets."""
PROCESS = "SELECT pg_backend_pid()"
LOOKS = 3
"""By a busy pooler two transactions may get the same session by chance."""


class SessionSettings:
    """Sees to the connections of an engine."""

    def __init__(self, engine: Engine, options: Mapping[str, str], *, prepare: bool) -> None:
        self.pooled = not prepare
        """Whether a pooler is between us and the database, as far as is known."""
        self._options = options
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "connect", self._look)
        event.listen(engine, "begin", self._begin)

    def _connect(self, dialect: Dialect, _: object, cargs: Any, parameters: dict[str, Any]) -> Any:
        """Connect with options, unless they are refused."""
        if not self.pooled:
            ours = [f"-c {name}={value}" for name, value in self._options.items()]
            options = " ".join([parameters.get("options", ""), *ours]).strip()
            try:
                return dialect.connect(*cargs, **{**parameters, "options": options})
            except psycopg.OperationalError as error:
                if "unsupported startup parameter" not in str(error):
                    raise
                self.pooled = True
        return dialect.connect(*cargs, **parameters)

    def _look(self, adapted: Any, _: object) -> None:
        """See whether the session has the process that the other side named."""
        driver = getattr(adapted, "driver_connection", adapted)
        cursor = adapted.cursor()
        cursor.execute(PROCESS)
        self.pooled |= cursor.fetchone() != (driver.info.backend_pid,)
        if self.pooled:
            driver.prepare_threshold = None
            cursor.execute(TIME_ZONE)
        cursor.close()
        adapted.commit()

    def _begin(self, connection: Connection) -> None:
        """Set for this transaction what no option has set."""
        if self.pooled and connection.get_execution_options().get("isolation_level") is None:
            settings = "; ".join(
                f"SET LOCAL {name} = '{value}'" for name, value in self._options.items()
            )
            connection.exec_driver_sql(settings)


def require_session(engine: Engine, connection: psycopg.Connection[Any]) -> None:
    """Raises CatalogueError where each transaction of a connection has another session.

    The connection is in autocommit mode.
    """
    if backend_pid(connection) == connection.info.backend_pid:
        return
    pooled = engine.raw_connection()
    another = pooled.driver_connection
    assert isinstance(another, psycopg.Connection)
    try:
        for _ in range(LOOKS):
            process = backend_pid(connection)
            with another.transaction():
                if backend_pid(another) == process or backend_pid(connection) != process:
                    raise CatalogueError(TRANSACTION_POOLING)
    finally:
        pooled.close()


def backend_pid(connection: psycopg.Connection[Any]) -> int:
    """The number of the database's process that a session has."""
    row = connection.execute(PROCESS).fetchone()
    assert row is not None
    return int(row[0])
