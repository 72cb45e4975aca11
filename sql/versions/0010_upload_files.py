"""Uploaded files, recorded before they are written, and the identity of the catalogue."""

from pathlib import Path

from sql import run_file

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Run the plain SQL beside this file."""
    run_file(Path(__file__).with_suffix(".up.sql"))


def downgrade() -> None:
    """Undo it."""
    run_file(Path(__file__).with_suffix(".down.sql"))
