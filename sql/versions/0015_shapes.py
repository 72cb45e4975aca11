"""The shapes that clients of the API read."""

from pathlib import Path

from sql import run_file

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Run the plain SQL beside this file."""
    run_file(Path(__file__).with_suffix(".up.sql"))


def downgrade() -> None:
    """Undo it."""
    run_file(Path(__file__).with_suffix(".down.sql"))
