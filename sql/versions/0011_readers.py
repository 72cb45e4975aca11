"""The interval of raster sources as desktop programs can read it."""

from pathlib import Path

from sql import run_file

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Run the plain SQL beside this file."""
    run_file(Path(__file__).with_suffix(".up.sql"))


def downgrade() -> None:
    """Undo it."""
    run_file(Path(__file__).with_suffix(".down.sql"))
