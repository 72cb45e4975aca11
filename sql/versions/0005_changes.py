"""The change feed: which raster sources were created, updated and deleted, in the order of commits."""

from pathlib import Path

from sql import run_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the plain SQL beside this file."""
    run_file(Path(__file__).with_suffix(".up.sql"))


def downgrade() -> None:
    """Undo it."""
    run_file(Path(__file__).with_suffix(".down.sql"))
