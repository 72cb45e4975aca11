"""The sources.toml files whose schedules are served."""

from pathlib import Path

from sql import run_file

revision = "0013"
down_revision = "0011"


def upgrade() -> None:
    """Run the plain SQL beside this file."""
    run_file(Path(__file__).with_suffix(".up.sql"))


def downgrade() -> None:
    """Undo it."""
    run_file(Path(__file__).with_suffix(".down.sql"))
