"""Names of files and raster sources cannot control the terminal that shows them."""

import unicodedata
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from pipeline.catalogue.reproject import MovedSource
from pipeline.cli.output import print_moved
from pipeline.cli.terminal import echo_error, strip_control_characters
from tests.support.commands import RASTERSOURCES, run
from tests.support.factory import write_raster

NAME = "a \x1b]0;pwned\x07 b\x9b2J\r\nrefused c"
PRINTED_NAME = "a ?]0;pwned? b?2J??refused c"
CONFIG = '[[source]]\nid = "named"\nfiles = "*.tif"\norganisation = "Owner"\n'


def test_only_control_characters_become_question_marks() -> None:
    for code_point in [*range(0x300), 0x2028, 0x1F600]:
        is_control = unicodedata.category(chr(code_point)) == "Cc"
        assert strip_control_characters(f"a{chr(code_point)}b") == (
            "a?b" if is_control else f"a{chr(code_point)}b"
        )


def test_an_error_of_two_lines_is_printed_on_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    echo_error("one \x1b[2J\ntwo")
    assert capsys.readouterr().err == "rastersources: one ?[2J\nrastersources: two\n"


def test_a_source_that_moves_is_shown_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_moved(MovedSource(str(uuid4()), NAME, 1, 2.0))
    assert f"  {PRINTED_NAME} (1 file)\n" in capsys.readouterr().out


def test_a_name_that_a_client_gave_does_not_control_the_terminal(
    tmp_path: Path, database_url: str, engine: Engine
) -> None:
    write_raster(tmp_path / "a.tif")
    (tmp_path / "sources.toml").write_text(CONFIG)

    def run_in_folder(*words: str) -> str:
        done = run([*RASTERSOURCES, *words], cwd=tmp_path, RASTERSOURCES_DATABASE_URL=database_url)
        return done.stdout + done.stderr

    run_in_folder("sync", "--create")
    with engine.begin() as connection:
        query = text("UPDATE raster_sources SET name = :name RETURNING uuid")
        uuid = str(connection.execute(query, {"name": NAME}).scalar_one())
    assert run_in_folder("sources", "gaps", uuid).startswith(f"{PRINTED_NAME}  {uuid}  ")
    run_in_folder("unregister", uuid)
    assert f"  {uuid}  {PRINTED_NAME}  file://" in run_in_folder("restore")


def test_a_sidecar_does_not_control_the_terminal(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a\x1b]0;pwned\x07.tif")
    path.with_name(f"{path.name}.aux.xml").write_text("<PAMDataset/>")
    printed = run([*RASTERSOURCES, "inspect", path]).stdout
    assert " a?]0;pwned?.tif.aux.xml " in printed
    assert "\x1b" not in printed
