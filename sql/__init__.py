"""The present schema (`schema/`), its migrations and the named statements (`queries/`)."""

from pathlib import Path

from alembic import op


def execute(statements: str) -> None:
    """Run SQL statements unchanged, on the driver's connection, where % and : have no special meaning."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(statements)


def execute_folder(folder: Path) -> None:
    """Run all SQL files of a folder in the order of their names."""
    for file in sorted(folder.glob("*.sql")):
        execute(file.read_text())
