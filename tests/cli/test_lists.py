"""The lists of each group, completion in the shell, and wrong calls."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.cli import completion
from tests.cli.conftest import run_command
from tests.support.commands import RASTERSOURCES, environment, read_terminal, run
from tests.support.database import execute

CONFIG = """
[[source]]
id = "rain"
files = ["rain/*.tif", "more/*.tif"]
organisation = "Owner"
every = "00:05:00"

[[source]]
id = "relief"
files = "relief.tif"
organisation = "Owner"
access_modifier = "Public"
schedule = "0 4 * * *"

[[drop]]
id = "incoming"
folder = "in"
"""


@pytest.fixture(scope="module")
def people(database_url: str, engine: Engine) -> str:
    """The URL of a database with two organisations, and a user with two roles in one of them."""
    execute(engine, "INSERT INTO organisations (name) VALUES ('Owner'), ('Other\x1b[2J')")
    execute(engine, "INSERT INTO users (username, email) VALUES ('ann', 'ann@example.org')")
    for role in ("user", "admin"):
        run(
            [*RASTERSOURCES, "role", "grant", "ann", "Owner", role],
            RASTERSOURCES_DATABASE_URL=database_url,
        )
    execute(
        engine,
        "INSERT INTO raster_sources (name, organisation_id) "
        "SELECT 'one', id FROM organisations WHERE name = 'Owner'",
    )
    return database_url


def test_organisations_are_listed_with_their_sources_and_users(people: str) -> None:
    lines = [
        line.split("\t")[1:] for line in run_command(people, "organisation", "list").splitlines()
    ]
    assert lines == [["Other?[2J", "0", "0"], ["Owner", "1", "1"]]
    objects = [
        json.loads(line)
        for line in run_command(people, "organisation", "list", "--json").splitlines()
    ]
    assert [(item["name"], item["sources"], item["users"]) for item in objects] == [
        ("Other\x1b[2J", 0, 0),
        ("Owner", 1, 1),
    ]


def test_users_and_keys_are_listed_without_secrets(people: str) -> None:
    prefix, _, secret = run_command(people, "key", "create", "ann").strip().partition(".")
    (user,) = run_command(people, "user", "list").splitlines()
    assert user.split("\t")[0] == "ann"
    assert "admin of Owner, user of Owner" in user
    (key,) = run_command(people, "key", "list").splitlines()
    assert key.split("\t")[:2] == ["ann", prefix]
    assert key.split("\t")[-1] == "yes"
    run_command(people, "key", "revoke", prefix)
    (key,) = run_command(people, "key", "list", "ann").splitlines()
    assert key.split("\t")[-1] == "no"
    assert secret not in key


def test_the_definitions_of_a_file_are_listed_without_a_database(tmp_path: Path) -> None:
    config = tmp_path / "sources.toml"
    config.write_text(CONFIG)
    table = run([*RASTERSOURCES, "sources", "list", "--config", config]).stdout
    assert [line.split("\t") for line in table.splitlines()] == [
        ["rain", "source", "rain/*.tif, more/*.tif", "Owner", "Private", "every 00:05:00"],
        ["relief", "source", "relief.tif", "Owner", "Public", "0 4 * * *"],
        ["incoming", "drop", "in", "", "", "by hand"],
    ]
    objects = run([*RASTERSOURCES, "sources", "list", "--json", "--config", config]).stdout
    assert [json.loads(line)["id"] for line in objects.splitlines()] == [
        "rain",
        "relief",
        "incoming",
    ]


def run_in_terminal(url: str, *words: str, **changes: str) -> str:
    """Run a command in a terminal, of 100 columns unless `changes` say otherwise; return what the terminal shows."""
    terminal, program_end = os.openpty()
    with subprocess.Popen(
        [*RASTERSOURCES, *words], stdout=program_end, stderr=program_end,
        env=environment(**{"TERM": "xterm", "COLUMNS": "100", "RASTERSOURCES_DATABASE_URL": url, **changes}),
    ):  # fmt: skip
        os.close(program_end)
        printed = read_terminal(terminal)
    os.close(terminal)
    return printed


def test_a_terminal_shows_a_table_with_a_head_and_colours_unless_switched_off(
    people: str,
) -> None:
    printed = run_in_terminal(people, "organisation", "list")
    assert "uuid" in printed.splitlines()[0]
    assert "\x1b[1m" in printed
    assert "\t" not in printed
    plain = run_in_terminal(people, "organisation", "list", NO_COLOR="1")
    assert "uuid" in plain.splitlines()[0]
    assert "\x1b[3" not in plain
    assert "\x1b[31m" in run_in_terminal(people, "search", "--bbox", "1")
    assert "\x1b[" not in run_in_terminal(people, "search", "--bbox", "1", NO_COLOR="1")


def test_a_search_in_a_terminal_breaks_no_uuid_and_shows_days(people: str, engine: Engine) -> None:
    name = "water depth " * 8
    execute(
        engine,
        "INSERT INTO raster_sources (name, organisation_id, file_count, first_value_timestamp, last_value_timestamp, "
        "west, south, east, north, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, "
        f"dtype) SELECT '{name}', id, 1, '2024-01-01T02:00:00.5Z', '2024-01-02Z', "
        "4, 51, 5, 52, 4, 51, 5, 52, 0.1, -0.1, 100, 'f4' FROM organisations WHERE name = 'Owner'",
    )
    words = "search", "--name-startswith", "water"
    narrow = run_in_terminal(people, *words, NO_COLOR="1")
    assert max(map(len, narrow.splitlines()[1:])) <= 100  # the head is bold
    assert "2024-01-01  2024-01-02" in narrow
    assert "uuid" not in narrow
    (uuid, *_), *others = (line.split("\t") for line in run_command(people, *words).splitlines())
    assert others == []
    assert uuid in run_in_terminal(people, *words, NO_COLOR="1", COLUMNS="160")
    nothing = run_in_terminal(people, "search", "--name", "nothing", NO_COLOR="1")
    assert nothing == "no raster source matches\r\n"


def complete(url: str, words: str, folder: Path) -> list[str]:
    """Return what bash offers for the last word."""
    changes: dict[str, Any] = {
        "_RASTERSOURCES_COMPLETE": "complete_bash",
        "COMP_WORDS": f"rastersources {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }
    program = "import sys; sys.argv = ['rastersources']; from pipeline.cli.main import main; main()"
    done = run(
        [sys.executable, "-c", program], cwd=folder, RASTERSOURCES_DATABASE_URL=url, **changes
    )
    assert done.stderr == ""
    return [line for line in done.stdout.split("\n") if line]


def test_the_shell_completes_ids_names_and_modifiers(people: str, tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text(CONFIG)
    (tmp_path / "other.toml").write_text('[[source]]\nid = "remote"\n')
    assert complete(people, "sync r", tmp_path) == ["rain", "relief"]
    assert complete(people, "sync --config other.toml r", tmp_path) == ["remote"]
    assert complete(people, "rejected list --definition in", tmp_path) == ["incoming"]
    assert complete(people, "register . --access-modifier P", tmp_path) == ["Public", "Private"]
    assert complete(people, "register . --organisation O", tmp_path) == ["Owner"]
    assert complete(people, "role grant a", tmp_path) == ["ann"]
    assert complete(people, "search --name-ic", tmp_path) == ["--name-icontains"]
    assert complete(people, "search --access-modifier P", tmp_path) == ["Public", "Private"]
    assert complete(people, "search --organisation-name O", tmp_path) == ["Owner"]
    assert complete(people, "search --as a", tmp_path) == ["ann"]


def test_completion_prints_nothing_if_it_finds_nothing(tmp_path: Path) -> None:
    missing_database = "postgresql://nobody@127.0.0.1:1/nothing"
    assert complete(missing_database, "role grant a", tmp_path) == []
    assert complete(missing_database, "sync r", tmp_path) == []
    (tmp_path / "sources.toml").write_text("[[source]\n")
    assert complete(missing_database, "sync r", tmp_path) == []
    assert list(completion.ids_of({"source": [{"id": 1}, {"id": "a"}]})) == ["a"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("serch", "no such command 'serch'"),
        ("search --colour red", "no such option: --colour"),
        ("search --limit many", "invalid value for '--limit': Input should be a valid integer"),
        ("search --limit", "requires an argument"),
        ("show", "missing argument 'UUID|NAME'"),
        ("show a b", "unexpected extra argument"),
        ("sync --runner abacus", "'abacus' is not one of"),
        (
            "serve --port 99999",
            "invalid value for '--port': Input should be less than or equal to 65535",
        ),
        (
            "layer add name --source nothing",
            "invalid value for '--source': Input should be a valid UUID",
        ),
    ],
)
def test_a_wrong_call_gives_one_sentence_that_names_the_help(words: str, sentence: str) -> None:
    errors = run([*RASTERSOURCES, *words.split()], status=2).stderr
    (line,) = errors.splitlines()
    assert line.startswith("rastersources: ")
    assert sentence in line
    assert line.endswith(" --help")


def test_a_group_without_a_command_prints_its_help() -> None:
    assert "Commands:" in run([*RASTERSOURCES, "user"], status=2).stderr
