"""The rules of docs/design.md about imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import REPOSITORY, run

LAYERS = ["errors", "storage", "raster", "definitions", "database", "catalogue"]
"""An import points only backwards along this line; ingest, api and export stand side by side at its end."""
ROOMS = {
    **{room: {*LAYERS[: index + 1]} for index, room in enumerate(LAYERS)},
    "database": {"errors", "database"},
    "ingest": {*LAYERS, "ingest"},
    "api": {*LAYERS, "api"},
    "export": {*LAYERS, "export"},
}
"""What each room may import; cli and flows, the entry points, may import all."""
ENTRY_POINTS = {"cli", "settings"}
MODULES = sorted((REPOSITORY / "pipeline").rglob("*.py")) + sorted(
    (REPOSITORY / "flows").rglob("*.py")
)


def list_imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


def room_of(path: Path) -> str:
    """Return the room of the library that a module belongs to."""
    return path.relative_to(REPOSITORY / "pipeline").with_suffix("").parts[0]


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {room_of(path) for path in MODULES if path.is_relative_to(REPOSITORY / "pipeline")}
    assert rooms - {"__init__"} == ROOMS.keys() | ENTRY_POINTS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_point_backwards(path: Path) -> None:
    if not path.is_relative_to(REPOSITORY / "pipeline") or room_of(path) not in ROOMS:
        return
    for name in list_imports(path):
        if name.startswith("pipeline."):
            assert name.split(".")[1] in ROOMS[room_of(path)], name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_frameworks_stay_where_they_belong(path: Path) -> None:
    packages = {name.split(".")[0] for name in list_imports(path)}
    in_flows = path.is_relative_to(REPOSITORY / "flows")
    in_api = path.is_relative_to(REPOSITORY / "pipeline/api")
    in_raster = path.is_relative_to(REPOSITORY / "pipeline/raster")
    assert in_flows or "prefect" not in packages
    assert in_api or not packages & {"fastapi", "starlette"}
    assert in_raster or "rasterio" not in packages
    assert "pyarrow" not in packages or (not in_flows and room_of(path) in ("export", "ingest"))
    assert path == REPOSITORY / "pipeline/storage/web.py" or in_flows or "httpx" not in packages
    assert path.name == "dask.py" or not packages & {"dask", "distributed"}
    if not in_flows and room_of(path) not in ENTRY_POINTS:
        assert "pipeline.settings" not in list_imports(path)
    if in_raster:
        assert not packages & {"sqlalchemy", "psycopg", "pydantic"}


def test_no_module_is_called_utils() -> None:
    assert [
        path.name for path in MODULES if path.stem in ("utils", "helpers", "misc", "common")
    ] == []


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a checkout of git")
def test_git_tracks_no_file_that_it_ignores() -> None:
    """ruff skips the files that git ignores."""
    list_ignored = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert run(list_ignored, cwd=REPOSITORY).stdout == ""
