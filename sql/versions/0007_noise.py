"""Rounding is no gap between tiles, and no class of grids holds files that do not fit."""

from pathlib import Path

from sql import run_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run the plain SQL beside this file."""
    run_file(Path(__file__).with_suffix(".up.sql"))


def downgrade() -> None:
    """Undo it."""
    run_file(Path(__file__).with_suffix(".down.sql"))
