"""Writes docs/reference, and parts of other pages, from the program itself. `make docs` runs it."""

from pathlib import Path

from reference.commands import commands_page
from reference.endpoints import endpoints_page
from reference.parts import write_parts
from reference.tables import tables_page

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = {
    "commands.md": commands_page,
    "endpoints.md": endpoints_page,
    "tables.md": tables_page,
}


def write_pages(folder: Path) -> None:
    """Write all pages into a folder."""
    folder.mkdir(exist_ok=True)
    for name, make_page in PAGES.items():
        (folder / name).write_text(make_page())


if __name__ == "__main__":
    write_pages(DOCS / "reference")
    write_parts(DOCS)
