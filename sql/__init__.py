"""The schema: plain SQL migrations in `versions/`, run by Alembic."""

from pathlib import Path

from alembic import op


def run_file(path: Path) -> None:
    """Run a file of SQL statements as it stands: by the driver itself, to which a % is no placeholder."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(path.read_text())
