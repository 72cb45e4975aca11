"""The docs name files that exist, and the design page shows every room."""

import re
from pathlib import Path

import pytest

from pipeline.catalogue.reasons import REASONS, WARNINGS
from pipeline.errors import RasterError
from tests.support.commands import REPOSITORY

PAGES = [
    page
    for folder in (REPOSITORY, REPOSITORY / "docs", REPOSITORY / "docs" / "how-to")
    for page in sorted(folder.glob("*.md"))
]
GENERATED = "reference/"
"""The folder of the pages that `make docs` writes; docs/reference is not in git."""
PATH = re.compile(r"`((?:pipeline|flows|sql|tests|benchmarks)/[\w./*-]*)`")
LINK = re.compile(r"\]\((?!https?:)([\w./-]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_link_of_a_page_exists(page: Path) -> None:
    text = page.read_text()
    named = [path for path in PATH.findall(text) if "NNNN" not in path]
    assert [path for path in named if not list(REPOSITORY.glob(path))] == []
    links = [link for link in LINK.findall(text) if GENERATED not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_design_page_shows_every_room() -> None:
    tree = (REPOSITORY / "docs" / "design.md").read_text().split("```")[1]
    rooms = {
        path.parent.relative_to(REPOSITORY)
        for top in ("pipeline", "flows", "sql")
        for pattern in ("*.py", "*.sql")
        for path in (REPOSITORY / top).rglob(pattern)
    }
    assert len(rooms) > 20
    assert [
        str(room) for room in sorted(rooms) if f"{room.name}/ " not in tree.replace("\n", " ")
    ] == []


def test_each_reason_and_warning_of_the_readers_is_explained() -> None:
    """docs/reason-codes.md and docs/warnings.md are made from these tables."""
    assert {error.code for error in RasterError.__subclasses__()} <= REASONS.keys()
    used = {
        code
        for path in (REPOSITORY / "pipeline" / "raster").rglob("*.py")
        for code in re.findall(r'RasterWarning\(\s*"(\w+)"', path.read_text())
    }
    assert len(used) > 20
    assert used <= WARNINGS.keys()
