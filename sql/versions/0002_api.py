"""The API: sign-ins, row-level security for readers by SQL, bounds of nothing."""

from pathlib import Path

from sql import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the plain SQL beside this file."""
    run_file(Path(__file__).with_suffix(".up.sql"))


def downgrade() -> None:
    """Undo it."""
    run_file(Path(__file__).with_suffix(".down.sql"))
