"""The CRS and nodata that clients send with an upload."""

from pathlib import Path

from sql import run_file

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Run the plain SQL beside this file."""
    run_file(Path(__file__).with_suffix(".up.sql"))


def downgrade() -> None:
    """Undo it."""
    run_file(Path(__file__).with_suffix(".down.sql"))
