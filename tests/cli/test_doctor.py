"""`rastersources doctor` names problems and what to do about them; `rastersources open` opens a page."""

import json
import socket
import subprocess
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from pipeline.cli.ports import next_free_port, publish, published
from tests.support.commands import RASTERSOURCES, REPOSITORY, environment, run
from tests.support.database import execute
from tests.support.unprivileged import OBEYS_MODES, needs_setpriv


def run_doctor(
    status: int = 0, /, *prefix: str, **changes: str | Path
) -> dict[str, list[tuple[str, str]]]:
    """Run the command; return the states and texts of each subject."""
    command = [*prefix, *RASTERSOURCES, "doctor", "--json"]
    done = run(command, status=status, cwd=REPOSITORY, **changes)
    findings: dict[str, list[tuple[str, str]]] = {}
    for line in done.stdout.splitlines():
        finding = json.loads(line)
        findings.setdefault(finding["subject"], []).append((finding["state"], finding["text"]))
    return findings


def test_a_sound_machine_has_no_problem(database_url: str, tmp_path: Path) -> None:
    findings = run_doctor(RASTERSOURCES_DATABASE_URL=database_url, RASTERSOURCES_HOME=tmp_path)
    states = {state for texts in findings.values() for state, _ in texts}
    assert "problem" not in states
    with psycopg.connect(database_url) as connection:
        query = "SELECT extversion FROM pg_extension WHERE extname = 'postgis'"
        (postgis,) = connection.execute(query).fetchone() or ("none",)
    assert findings["postgis"] == [("ok", f"version {postgis}")]
    assert findings["schema"][0][1].startswith("up to date")
    lines = run(
        [*RASTERSOURCES, "doctor"],
        RASTERSOURCES_DATABASE_URL=database_url,
        RASTERSOURCES_HOME=tmp_path,
    ).stdout
    assert [line.split()[0] for line in lines.splitlines()] == ["ok"] * len(lines.splitlines())


def test_a_new_home_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    findings = run_doctor(RASTERSOURCES_HOME=home)
    assert "not created yet" in findings["database"][0][1]
    assert not home.exists()


def test_problems_are_named_with_what_to_do(tmp_path: Path, database_url: str) -> None:
    findings = run_doctor(
        1,
        RASTERSOURCES_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing",
        RASTERSOURCES_HOME=tmp_path,
        RASTERSOURCES_ROOTS="/nowhere",
        RASTERSOURCES_UPLOAD_RESERVE_BYTES=str(2**62),
        PREFECT_API_URL="http://127.0.0.1:1/api",
    )
    problems = {name for name, texts in findings.items() if texts[0][0] == "problem"}
    assert problems == {"database", "roots", "uploads", "prefect"}
    assert "mount it, or remove it" in findings["roots"][0][1]
    assert "delete files, or lower" in findings["uploads"][0][1]
    assert "start it, or correct the variable" in findings["prefect"][0][1]


def test_a_database_without_postgis_or_schema_is_named(server: str, tmp_path: Path) -> None:
    name = "rastersources_test_without_postgis"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
        url = make_url(server).set(database=name).render_as_string(hide_password=False)
        try:
            findings = run_doctor(1, RASTERSOURCES_DATABASE_URL=url, RASTERSOURCES_HOME=tmp_path)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    assert findings["postgis"] == [
        ("problem", "not installed; ask an administrator to run: CREATE EXTENSION postgis")
    ]
    assert findings["schema"][0][0] == "warning"
    assert "rastersources db migrate" in findings["schema"][0][1]


def test_a_grid_that_the_catalogue_could_use_is_named(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    execute(engine, "INSERT INTO coordinate_systems (wkt, projection) VALUES ('any', 'EPSG:27700')")
    changes: dict[str, str | Path] = {
        "RASTERSOURCES_DATABASE_URL": database_url,
        "RASTERSOURCES_HOME": tmp_path,
    }
    assert len(run_doctor(0, **changes)["proj"]) == 1
    findings = run_doctor(0, **changes, RASTERSOURCES_CRS_POLICY="best-available")["proj"]
    assert findings[1][0] == "warning"
    # the grid of the British transformation OSTN15, as PROJ publishes it
    assert "pyproj sync --file uk_os_OSTN15_NTv2_OSGBtoETRS.tif" in findings[1][1]


@needs_setpriv
def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, database_url: str) -> None:
    tmp_path.chmod(0o500)
    findings = run_doctor(
        1,
        *OBEYS_MODES,
        RASTERSOURCES_HOME=tmp_path / "home",
        RASTERSOURCES_DATABASE_URL=database_url,
    )
    assert "set RASTERSOURCES_HOME" in findings["home"][0][1]


def test_a_password_that_others_can_read_is_named(tmp_path: Path, database_url: str) -> None:
    password = tmp_path / "prefect-password"
    password.write_text("user:secret")
    password.chmod(0o644)
    findings = run_doctor(1, RASTERSOURCES_HOME=tmp_path, RASTERSOURCES_DATABASE_URL=database_url)
    assert findings["home"][1] == (
        "problem",
        f"other users can read {password}; run: chmod 600 {password}",
    )


def test_the_next_port_is_the_same_one_every_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        if port > 65000:
            pytest.skip("too near to the last port")
        free_port = next_free_port("127.0.0.1", port)
        assert port < free_port < port + 50
        assert next_free_port("127.0.0.1", port) == free_port
    assert next_free_port("127.0.0.1", port) == port


def test_a_published_address_ends_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "address"
    assert published(file) is None
    with publish(file, "http://127.0.0.1:8000"):
        assert published(file) == "http://127.0.0.1:8000"
    assert published(file) is None


def test_open_prints_the_address_and_starts_a_browser_where_there_is_one(
    tmp_path: Path, database_url: str, engine: Engine
) -> None:
    execute(engine, "INSERT INTO organisations (name) VALUES ('Owner')")
    execute(
        engine,
        "INSERT INTO raster_sources (name, uuid, organisation_id) "
        "SELECT 'Depth', '10415ccb-ec31-4d43-bdb3-db597061527b', id FROM organisations",
    )
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    changes: dict[str, str | Path] = {
        "RASTERSOURCES_DATABASE_URL": database_url,
        "RASTERSOURCES_HOME": tmp_path,
    }
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with publish(tmp_path / "api-address", address):
            assert run_open(changes) == f"{address}/\n"
            page = f"{address}/sources/10415ccb-ec31-4d43-bdb3-db597061527b/\n"
            assert run_open({**changes, "BROWSER": browser}, "epth") == page
    assert (tmp_path / "opened").read_text() == page
    error = run(
        [*RASTERSOURCES, "open"], status=1, cwd=tmp_path, RASTERSOURCES_BASE_URL=address, **changes
    ).stderr
    assert (
        error
        == f"rastersources: no server answers at {address}; start one with: rastersources up\n"
    )


def run_open(changes: dict[str, str | Path], *words: str) -> str:
    """Return what `open` prints on a machine without a display."""
    variables = environment(**changes)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        variables.pop(name, None)
    done = subprocess.run(
        [*RASTERSOURCES, "open", *words], env=variables, capture_output=True, text=True, check=True
    )
    return done.stdout
