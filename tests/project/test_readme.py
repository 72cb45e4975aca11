"""The commands of README, tutorial and how-tos run in order, and print what the pages say."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.cli.prefect_password import server_password
from tests.support.commands import REPOSITORY, find_processes, run, without_progress
from tests.support.docs_commands import DocsShell, find_commands, matches
from tests.support.needs import needs_gdal, needs_own_cluster
from tests.support.prefect_server import Prefect
from tests.support.private_clusters import add_cluster
from tests.support.s3 import Bucket
from tests.support.web import serve_folder

README = (REPOSITORY / "README.md").read_text()
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text()
TUTORIAL = (REPOSITORY / "docs" / "tutorial.md").read_text()
SAMPLES = REPOSITORY / "sample_data"
HOW_TOS = [
    pytest.param(
        page, id=page.stem, marks=[needs_gdal] if page.stem in ("old-files", "qgis") else []
    )
    for page in sorted((REPOSITORY / "docs" / "how-to").glob("*.md"))
    if find_commands("console", page.read_text())
]
"""The how-tos with commands that a test can run."""
pytestmark = needs_own_cluster


def test_the_commands_print_what_the_readme_says(reader: DocsShell) -> None:
    add_cluster(reader.home)
    assert len(find_commands("console", README)) >= 5
    reader.follow(find_commands("console", README))


def test_the_commands_print_what_the_tutorial_says(reader: DocsShell) -> None:
    add_cluster(reader.home)
    reader.follow([("rastersources sync --create --config sample_data/sources.toml", "...")])
    assert len(find_commands("console", TUTORIAL)) > 12
    reader.follow(find_commands("console", TUTORIAL))


@pytest.fixture
def catalogue_of_samples(tmp_path: Path) -> Iterator[str]:
    """The address of a static STAC catalogue with an item for each sample."""
    folder = tmp_path / "served"
    (folder / "dem").mkdir(parents=True)
    links = []
    for raster in sorted(SAMPLES.glob("*.tif")):
        shutil.copy(raster, folder / "dem")
        assets = {
            "data": {"href": f"./{raster.name}", "type": "image/tiff; application=geotiff"},
            "thumb": {"href": "./thumb.png", "type": "image/png", "roles": ["thumbnail"]},
        }
        item = {"type": "Feature", "stac_version": "1.1.0", "id": raster.stem, "geometry": None}
        text = json.dumps({**item, "properties": {"datetime": None}, "links": [], "assets": assets})
        (folder / "dem" / f"{raster.stem}.json").write_text(text)
        links.append({"rel": "item", "href": f"./dem/{raster.stem}.json"})
    catalogue = {"type": "Catalog", "stac_version": "1.1.0", "id": "maps", "description": "Maps"}
    (folder / "catalog.json").write_text(json.dumps({**catalogue, "links": links}))
    with serve_folder(folder) as web:
        yield web.url


@pytest.mark.parametrize("page", HOW_TOS)
def test_the_commands_print_what_the_how_to_says(
    page: Path, reader: DocsShell, request: pytest.FixtureRequest
) -> None:
    """Run the commands in console blocks; those that need more than a cluster and a bucket were tried by hand."""
    text = page.read_text()
    add_cluster(reader.home)
    if page.stem == "bucket":
        bucket: Bucket = request.getfixturevalue("bucket")
        for raster in sorted(SAMPLES.glob("bloemhof_s1_2*.tif")):
            bucket.put(f"depth/{raster.name}", raster)
        reader.variables.update(bucket.environment)
        text = text.replace("s3://rasters/", f"s3://{bucket.name}/")
    if page.stem == "import-stac":
        url = request.getfixturevalue("catalogue_of_samples")
        reader.variables["RASTERSOURCES_ROOTS"] = f"{url}/"
        # the name of the import is derived from the URL
        text = re.sub(r"definition .*\nstac-.*13\n", "...", text).replace(
            "https://maps.example.org", url
        )
    reader.follow(find_commands("console", text))


def test_a_file_in_a_scheduled_folder_is_in_the_api_after_the_next_run(
    reader: DocsShell,
) -> None:
    with follow_until_schedules_run(reader) as steps_left:
        for command, expected in steps_left:
            if command.startswith("sleep "):
                wait_for_scheduled_run(reader, since=datetime.now(UTC))
            else:
                reader.follow([(command, expected)])


@pytest.mark.soak  # measures seconds, which fails on a machine that has too much to do
def test_a_file_in_a_scheduled_folder_is_in_the_api_when_the_readme_says(
    reader: DocsShell,
) -> None:
    with follow_until_schedules_run(reader) as steps_left:
        reader.follow(steps_left)


@contextmanager
def follow_until_schedules_run(reader: DocsShell) -> Iterator[list[tuple[str, str]]]:
    """Follow the tutorial until the first scheduled run has ended; yield the steps that are left."""
    described, _, automatic = TUTORIAL.partition("\n## 4. ")[2].partition("\n## 7. ")
    (command, expected), *steps_left = find_commands("", automatic)
    add_cluster(reader.home)
    reader.follow(find_commands("console", described))
    up = reader.start(f"exec {command}")
    try:
        printed = wait_for_first_sync(up)
        assert matches(reader.with_ports(expected), printed), printed
        wait_for_scheduled_run(reader, since=datetime.fromtimestamp(0, UTC))
        yield steps_left
    finally:
        up.terminate()
        up.communicate()


def wait_for_first_sync(process: "subprocess.Popen[str]") -> str:
    """Return what a process prints up to the end of the first sync, without the progress on slow machines."""
    assert process.stdout
    printed = ""
    while "Ctrl-C stops everything." not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line if without_progress(line) else ""
    return printed


def wait_for_scheduled_run(reader: DocsShell, since: datetime) -> None:
    """Wait without a time limit until a scheduled run has ended that began after an instant."""
    query = {
        "flow_runs": {
            "state": {"type": {"any_": ["COMPLETED"]}},
            "start_time": {"after_": since.isoformat()},
        }
    }
    password = server_password(reader.home)
    prefect = Prefect(f"http://127.0.0.1:{reader.ports['4200']}/api", password)
    while True:
        runs = prefect.find("flow_runs", **query)
        if any(run["deployment_id"] for run in runs):
            return
        time.sleep(0.3)


def test_make_run_prints_what_the_readme_says_and_ctrl_c_stops_everything(
    reader: DocsShell,
) -> None:
    block = README.partition("$ make run\n")[2].partition("```")[0]
    expected = block.partition("\n")[
        2
    ]  # the first line is of setup.sh, which prints it on a fresh machine only
    up = reader.start(
        f"cd '{REPOSITORY}'; exec .venv/bin/python -m pipeline.cli up --config sample_data/sources.toml --create"
    )
    try:
        printed = wait_for_first_sync(up)
    finally:
        os.killpg(up.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
        printed_at_the_end, _ = up.communicate()
    assert matches(reader.with_ports(expected), printed), printed
    assert (up.returncode, printed_at_the_end) == (0, "")
    assert find_processes(reader.home) == {}


def test_make_help_names_the_commands() -> None:
    text = run(["make", "help"]).stdout
    assert "make run" in text
    assert "make test" in text
    makefile = (REPOSITORY / "Makefile").read_text()
    block = CONTRIBUTING.partition("$ make test\n")[2].partition("```")[0]
    for line in block.splitlines():
        if line.startswith((".venv/bin/", "tests/")):
            assert line.replace(".venv/bin", "$(BIN)") in makefile
