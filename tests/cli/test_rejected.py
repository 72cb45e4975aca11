"""The commands that look after rejected files."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support.commands import RASTERSOURCES, run
from tests.support.factory import write_raster


@pytest.fixture
def refused(tmp_path: Path, database_url: str, engine: Engine) -> tuple[Path, Path]:
    """Two files that were refused, of a run with one that was not; there are no others."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM rejected_files"))
    write_raster(tmp_path / "good.tif")
    half, nowhere = tmp_path / "half.tif", write_raster(tmp_path / "nowhere.tif", crs=None)
    half.write_bytes(write_raster(tmp_path / "whole.tif").read_bytes()[:300])
    rejected(database_url, "register", tmp_path, "--organisation", "Owner", "--create", status=3)
    return half, nowhere


def rejected(url: str, *arguments: str | Path, status: int = 0) -> str:
    """What a command prints."""
    done = run([*RASTERSOURCES, *arguments], status=status, RASTERSOURCES_DATABASE_URL=url)
    return done.stdout if status == 0 else done.stderr


def listed(url: str, *options: str) -> list[dict[str, Any]]:
    """What `rejected list --json` prints."""
    lines = rejected(url, "rejected", "list", "--json", *options).splitlines()
    return [json.loads(line) for line in lines]


def test_the_list_names_each_file_with_its_reason(
    refused: tuple[Path, Path], database_url: str
) -> None:
    half, nowhere = refused
    found = listed(database_url)
    assert [(one["uri"], one["code"]) for one in found] == [
        (half.as_uri(), "truncated"),
        (nowhere.as_uri(), "missing_crs"),
    ]
    assert {one["organisation"] for one in found} == {"Owner"}
    assert {one["definition"] for one in found} == {"register"}
    assert listed(database_url, "--code", "missing_crs") == found[1:]
    assert listed(database_url, "--definition", "another") == []
    lines = rejected(database_url, "rejected", "list").splitlines()
    assert lines[0].startswith(f"{found[0]['id']} register since ")
    assert lines[0].endswith(f"(1x) {half.as_uri()}: {found[0]['message']} [truncated]")


def test_retry_forgets_the_fingerprints(refused: tuple[Path, Path], database_url: str) -> None:
    half, nowhere = refused
    number = listed(database_url)[-1]["id"]

    def remembered() -> list[str]:
        return [one["uri"] for one in listed(database_url) if one["fingerprint"]]

    assert {half.as_uri(), nowhere.as_uri()} <= set(remembered())
    assert rejected(database_url, "rejected", "retry", half) == "the next run reads 1 file again\n"
    assert half.as_uri() not in remembered()
    rejected(database_url, "rejected", "retry", str(number), half.as_uri())
    assert nowhere.as_uri() not in remembered()
    rejected(database_url, "rejected", "retry", "--all")
    assert remembered() == []


def test_retry_names_unknown_files_and_changes_nothing(
    refused: tuple[Path, Path], database_url: str
) -> None:
    half, _ = refused
    message = rejected(database_url, "rejected", "retry", half, "/nothing.tif", status=1)
    assert message == (
        "rastersources: file:///nothing.tif is not among the rejected files; see: rastersources rejected list\n"
    )
    assert half.as_uri() in {one["uri"] for one in listed(database_url) if one["fingerprint"]}
    assert "name the files" in rejected(database_url, "rejected", "retry", status=1)


def test_sync_skips_a_rejected_file_until_it_is_retried(
    tmp_path: Path, database_url: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM rejected_files"))
    write_raster(tmp_path / "a.tif", crs=None)
    (tmp_path / "sources.toml").write_text(
        f'[[source]]\nid = "a"\nfiles = "{tmp_path}/*.tif"\norganisation = "Owner"\n'
    )

    def attempts() -> int:
        config = str(tmp_path / "sources.toml")
        rejected(database_url, "sync", "--config", config, "--create", status=3)
        (found,) = listed(database_url, "--definition", "a")
        return int(found["attempts"])

    assert [attempts(), attempts()] == [1, 1]
    rejected(database_url, "rejected", "retry", "--definition", "a")
    assert [attempts(), attempts()] == [2, 2]
