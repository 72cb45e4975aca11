"""The catalogue: people, raster sources and files, their dependents, work, derivation."""

from pathlib import Path

from sql import run_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the plain SQL beside this file."""
    run_file(Path(__file__).with_suffix(".up.sql"))


def downgrade() -> None:
    """Undo it."""
    run_file(Path(__file__).with_suffix(".down.sql"))
