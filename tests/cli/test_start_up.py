"""Commands start quickly: they import what they need and start no process that they do not need."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.factory import write_raster

PROGRAM = """
import atexit, json, sys

processes = []
sys.addaudithook(lambda event, args: processes.append(args[1]) if event == "subprocess.Popen" else None)
atexit.register(lambda: print(json.dumps([len(processes), [*sys.modules]]), file=sys.stderr))

from pipeline.cli.main import main

main()
"""
"""Runs the command line; its last line on standard error counts processes and names imported modules."""

READING = {"affine", "cftime", "numpy", "pyproj", "rasterio", "shapely"}
SERVING = {
    "alembic",
    "fastapi",
    "pydantic_settings",
    "psycopg",
    "sqlalchemy",
    "starlette",
    "uvicorn",
}
RUNNING = {"distributed", "prefect"}


def measure_start(*arguments: str | Path, database: str = "") -> tuple[int, set[str]]:
    """Run a command; return the number of processes that it starts, and the packages that it imports."""
    done = run(
        [sys.executable, "-c", PROGRAM, *arguments],
        RASTERSOURCES_DATABASE_URL=database,
        RASTERSOURCES_WORKERS="2",
    )
    processes, modules = json.loads(done.stderr.splitlines()[-1])
    return processes, {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_the_command_line_only(arguments: list[str]) -> None:
    processes, packages = measure_start(*arguments)
    assert processes == 0
    assert not packages & (READING | SERVING | RUNNING | {"obstore", "pydantic", "rich"})


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_inspect_reads_a_file_in_one_process_and_imports_no_raster_library_itself(
    tmp_path: Path, form: list[str]
) -> None:
    processes, packages = measure_start("inspect", *form, write_raster(tmp_path / "a.tif"))
    assert processes == 1
    assert not packages & (READING | SERVING | RUNNING)


@pytest.mark.parametrize("arguments", [["user", "list"], ["organisation", "list"]])
def test_a_command_about_people_imports_no_geometries(
    arguments: list[str], database_url: str
) -> None:
    processes, packages = measure_start(*arguments, database=database_url)
    assert processes == 0
    others = {"alembic", "cronsim", "geoalchemy2", "obstore", "starlette"}
    assert not packages & (READING | RUNNING | others)


def test_register_leaves_the_raster_libraries_to_the_processes_that_read(
    tmp_path: Path, database_url: str
) -> None:
    write_raster(tmp_path / "a.tif")
    options = "--organisation", "Owner", "--create"
    processes, packages = measure_start("register", tmp_path, *options, database=database_url)
    assert processes == 2
    assert not packages & (READING | RUNNING | {"alembic", "geoalchemy2", "starlette"})
