"""The pages about ingestion: what they show to which callers, and trying again."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from affine import Affine
from httpx import Client
from sqlalchemy import Engine

from pipeline.api.auth import COOKIE, csrf_token
from pipeline.api.config import ApiConfig
from pipeline.api.site.chart import HEIGHT, WIDTH, Value, make_chart, round_up, speeds_within
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.sync_runs import forget_old_runs
from pipeline.catalogue.users import set_password
from pipeline.definitions.schedules import list_schedules
from pipeline.ingest.register import register_all
from pipeline.ingest.sync import sync_all
from pipeline.raster import ProcessReader
from tests.api.conftest import As, client_of
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import CONFIG, definition_files, run_context
from tests.support.pages import BROWSER, post_sign_in

CALLERS = ("stranger", "manager", "user", "supplier", "admin")
MEMBERS = ("user", "supplier", "admin")
WRITERS = ("supplier", "admin")
RD_IN_DEGREES = Affine(0.1, 0, 4, 0, -0.1, 52)
FLOW_RUN = UUID("0b7e8f5c-7c53-4d5c-9e68-2a50c6a0a001")


@pytest.fixture(scope="module")
def runs(
    engine: Engine, pool: ProcessReader[FileRow], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Run a definition of Owner and one of another organisation; return the ids of the runs, and the folders."""
    folder = tmp_path_factory.mktemp("secret")
    write_raster(folder / "good.tif")
    write_raster(folder / "degrees.tif", crs="EPSG:28992", transform=RD_IN_DEGREES)
    write_raster(folder / "nowhere.tif", crs=None)
    (folder / "empty.tif").write_bytes(b"")
    other = tmp_path_factory.mktemp("foreign")
    write_raster(other / "foreign.tif", crs=None)
    context = run_context(engine, pool.read)
    (ours,) = register_all(
        replace(context, flow_run=FLOW_RUN),
        [definition_files([folder], id="ours", access_modifier="Public")],
    )
    (theirs,) = sync_all(
        context, [definition_files([other], id="theirs", organisation="Other")], CONFIG
    )
    return {"ours": ours.run, "theirs": theirs.run, "folder": folder, "other": other}


def paths_of(run: int) -> list[str]:
    return [
        "/ingestion/", "/ingestion/runs/", f"/ingestion/runs/{run}/", "/ingestion/rejected/",
        f"/ingestion/rejected/?run={run}&code=missing_crs", "/ingestion/warnings/",
        "/ingestion/warnings/?code=outside_area_of_use",
    ]  # fmt: skip


def own_words(path: str) -> str:
    """Return words that members of Owner see at a path, and others do not."""
    return "nowhere.tif" if "missing_crs" in path else "degrees.tif" if "code=" in path else "ours"


def get(client: Client, path: str, kind: str = "text/html") -> Any:
    return client.get(path, headers={"Accept": kind})


def test_only_members_see_the_ingestion_of_an_organisation(
    client: Client, as_: As, runs: dict[str, Any]
) -> None:
    clients: dict[str | None, Client] = {None: client, **{name: as_(name) for name in CALLERS}}
    for path in paths_of(runs["ours"]):
        for name, caller in clients.items():
            for form in ("", "format=json"):
                answer = get(caller, f"{path}{'&' if '?' in path else '?'}{form}" if form else path)
                hidden = "/runs/" in path and path != "/ingestion/runs/" and name not in MEMBERS
                assert answer.status_code == (404 if hidden else 200), (path, name)
                words = "missing_crs" if path == "/ingestion/rejected/" else own_words(path)
                words = "outside_area_of_use" if path == "/ingestion/warnings/" else words
                seen = words in answer.text.replace(path, "").replace("code=missing_crs", "")
                if not ("code=" in path and words == "missing_crs"):
                    assert seen == (name in MEMBERS), (path, name, answer.text)
                assert "theirs" not in answer.text
                assert "foreign" not in answer.text
                assert (str(runs["folder"]) in answer.text) <= (name in WRITERS), (path, name)
    for name in (None, *CALLERS):
        assert get(clients[name], f"/ingestion/runs/{runs['theirs']}/").status_code == 404


@pytest.mark.parametrize("run_id", ["0", "-1", "x", "99999", "99999999999999999999", "1.5", "²"])
def test_a_run_that_does_not_exist_is_404(as_: As, runs: dict[str, Any], run_id: str) -> None:
    assert get(as_("admin"), f"/ingestion/runs/{run_id}/").status_code == 404


def test_the_page_of_a_run_shows_its_counts(as_: As, runs: dict[str, Any]) -> None:
    page = get(as_("user"), f"/ingestion/runs/{runs['ours']}/?format=json").json()
    run = page["run"]
    assert [run[name] for name in ("state", "listed", "registered", "rejected", "unchanged")] == [
        "rejections", 4, 2, 2, 0,
    ]  # fmt: skip
    assert run["reasons"] == {"missing_crs": 1, "empty_file": 1}
    assert run["warnings"] == {"outside_area_of_use": 1}
    (warning,) = page["warnings"]
    assert (warning["code"], warning["files"], warning["needs_check"]) == (
        "outside_area_of_use", 1, True,
    )  # fmt: skip
    assert {group["code"]: group["count"] for group in page["groups"]} == run["reasons"]
    text = get(as_("user"), f"/ingestion/runs/{runs['ours']}/").text
    assert re.search(r'class="card alarming">\s*<h3>.*\s*<code>outside_area_of_use', text)
    assert f"rastersources undo {runs['ours']}" in text


def test_the_page_of_a_run_links_its_flow_run(
    database_url: str, as_: As, people: dict[str, str], runs: dict[str, Any]
) -> None:
    page = f"https://prefect.example/runs/flow-run/{FLOW_RUN}"
    path = f"/ingestion/runs/{runs['ours']}/"
    assert page not in get(as_("admin"), path).text
    config = ApiConfig(database_url, prefect_pages="https://prefect.example/")
    with client_of(config) as client:
        client.auth = ("__key__", people["admin"])
        assert f'href="{page}"' in get(client, path).text


@pytest.fixture
def scheduled(
    database_url: str, people: dict[str, str], tmp_path: Path
) -> Iterator[tuple[Client, Path]]:
    """The administrator's client of a server with a sources.toml, and the path of that file."""
    config = tmp_path / "sources.toml"
    with client_of(ApiConfig(database_url, schedules=partial(list_schedules, config))) as client:
        client.auth = ("__key__", people["admin"])
        yield client, config


def test_definitions_show_their_schedule_and_next_run(
    scheduled: tuple[Client, Path], runs: dict[str, Any]
) -> None:
    client, config = scheduled
    config.write_text("""
        [[source]]
        id = "ours"
        files = ["*.tif"]
        organisation = "Owner"
        every = "01:00:00"
        [[source]]
        id = "yearly"
        files = ["*.tif"]
        organisation = "Owner"
        schedule = "30 4 1 1 *"
        [[source]]
        id = "theirs"
        files = ["*.tif"]
        organisation = "Other"
        [[drop]]
        id = "everyone"
        folder = "in"
    """)
    definitions = get(client, "/ingestion/?format=json").json()["definitions"]
    assert [definition["id"] for definition in definitions] == ["ours", "yearly"]
    ours, yearly = definitions
    assert (ours["schedule"], ours["last"]["run"]) == ("every 01:00:00", runs["ours"])
    assert ours["next_run"].endswith(":00:00+00:00")
    assert (yearly["schedule"], yearly["last"]) == ("at 30 4 1 1 * in UTC", None)
    assert yearly["next_run"].endswith("-01-01T04:30:00+00:00")


def test_the_page_shows_the_runs_when_sources_toml_cannot_be_read(
    scheduled: tuple[Client, Path],
    runs: dict[str, Any],
) -> None:
    client, config = scheduled
    for text in ("[[", None):
        if text:
            config.write_text(text)
        else:
            config.unlink()
        answer = get(client, "/ingestion/")
        assert "cannot be read now" in answer.text
        assert str(config) not in answer.text
        assert ">ours<" in answer.text


@pytest.fixture(scope="module")
def sessions(client: Client, engine: Engine, people: dict[str, str]) -> Iterator[As]:
    """Return the client that is signed in as the person with this name."""
    with ExitStack() as stack:
        clients = {}
        for name in people:
            set_password(engine, name, "the right one")
            browser = stack.enter_context(
                Client(base_url=client.base_url, headers=BROWSER, timeout=60)
            )
            assert post_sign_in(browser, name, "the right one").status_code == 303
            clients[name] = browser
        yield clients.__getitem__


def try_again(browser: Client, query: str = "", **form: Any) -> Any:
    token = csrf_token(browser.cookies[COOKIE])
    return browser.post(f"/ingestion/rejected/{query}", data={"csrfmiddlewaretoken": token, **form})


def test_only_writers_of_an_organisation_try_its_files_again(
    client: Client, as_: As, sessions: As, engine: Engine, runs: dict[str, Any]
) -> None:
    read_again = (
        "SELECT definition, code FROM rejected_files WHERE fingerprint IS NULL ORDER BY 1, 2"
    )
    form = {"code": "missing_crs"}
    assert client.post("/ingestion/rejected/", data=form).status_code == 401
    assert as_("admin").post("/ingestion/rejected/", data=form).status_code == 403
    assert sessions("admin").post("/ingestion/rejected/", data=form).status_code == 403
    for name in ("stranger", "manager", "user"):
        assert try_again(sessions(name), **form).status_code == 403
    assert rows(engine, read_again) == []
    for path in ("?dry-run", "?Dry_Run=1"):
        answer = try_again(sessions("supplier"), path, **form)
        assert answer.status_code == 200
        assert "This was a dry run: the next run would read 1 file again." in answer.text
    assert rows(engine, read_again) == []
    assert try_again(sessions("admin")).status_code == 400
    ((theirs,),) = rows(engine, "SELECT id FROM rejected_files WHERE definition = 'theirs'")
    answer = try_again(sessions("admin"), id=theirs)
    assert answer.status_code == 404
    answer = try_again(sessions("supplier"), **form)
    assert (answer.status_code, answer.headers["location"].partition("/ingestion")[2]) == (
        303, "/rejected/?again=1",
    )  # fmt: skip
    assert rows(engine, read_again) == [("ours", "missing_crs")]
    shown = get(as_("supplier"), answer.headers["location"]).text
    assert "The next run reads 1 file again." in shown
    assert "read again by the next run" in shown
    execute(engine, "UPDATE rejected_files SET fingerprint = 'x' WHERE fingerprint IS NULL")


def test_the_next_sync_reads_files_that_are_tried_again(
    sessions: As, engine: Engine, pool: ProcessReader[FileRow], runs: dict[str, Any]
) -> None:
    item = definition_files([runs["folder"]], id="ours", access_modifier="Public")
    context = run_context(engine, pool.read)
    attempts = (
        "SELECT attempts FROM rejected_files WHERE definition = 'ours' AND code = 'empty_file'"
    )
    sync_all(context, [item], CONFIG)
    before = rows(engine, attempts)
    sync_all(context, [item], CONFIG)
    assert rows(engine, attempts) == before
    assert try_again(sessions("admin"), code="empty_file").status_code == 303
    sync_all(context, [item], CONFIG)
    assert rows(engine, attempts) == [(before[0][0] + 1,)]


def test_the_list_of_runs_has_pages(as_: As, engine: Engine, runs: dict[str, Any]) -> None:
    execute(
        engine,
        """INSERT INTO sync_runs (definition, state, finished, organisation_ids)
           SELECT 'many', 'completed', now(), ARRAY[(SELECT id FROM organisations WHERE name = 'Owner')]
           FROM generate_series(1, 120)""",
    )
    path, seen = "/ingestion/runs/?definition=many", []
    while path:
        page = get(as_("user"), f"{path}&format=json").json()
        seen += [run["id"] for run in page["runs"]]
        path = page["older"] and f"/ingestion/runs/{page['older'].replace('&format=json', '')}"
    expected = rows(engine, "SELECT id FROM sync_runs WHERE definition = 'many' ORDER BY id DESC")
    assert seen == [run_id for (run_id,) in expected]
    failed = get(as_("user"), "/ingestion/runs/?state=failed&format=json").json()
    assert failed["runs"] == []


def test_old_runs_are_deleted_unless_they_are_still_running(engine: Engine) -> None:
    old = "now() - interval '401 days'"
    execute(
        engine,
        f"""INSERT INTO sync_runs (definition, state, started, finished)
            VALUES ('old', 'completed', {old}, {old}), ('old', 'running', {old}, NULL),
                   ('old', 'completed', now() - interval '399 days', now())""",
    )
    forget_old_runs(engine, 400)
    states = rows(engine, "SELECT state FROM sync_runs WHERE definition = 'old' ORDER BY id")
    assert states == [("running",), ("completed",)]


def test_a_chart_has_bars_of_the_right_size() -> None:
    values = speeds_within([1.0, 100.0, 3.0, 200.0])
    assert [(value.value, value.share) for value in values] == [(100.0, 1.0), (50.0, 2.0)]
    chart = make_chart(values, "0 s", "3 s")
    assert chart is not None
    assert chart.top == 100
    first, second = chart.bars
    assert (first.height, second.height) == (HEIGHT, HEIGHT / 2)
    assert second.x == pytest.approx(WIDTH / 3, abs=0.01)
    assert make_chart([], "", "") is None
    assert make_chart([Value(0, "nothing")], "", "") is not None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 1), (1, 1), (1.1, 2), (2.2, 2.5), (2.6, 5), (9, 10), (100, 100), (101, 200), (0.03, 0.05)],
)
def test_the_upper_edge_of_a_chart_is_a_round_number(value: float, expected: float) -> None:
    assert round_up(value) == pytest.approx(expected)
