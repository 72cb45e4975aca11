"""The commands for rejected files."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.cli.conftest import run_command
from tests.support.factory import write_raster


@pytest.fixture
def rejected_files(tmp_path: Path, database_url: str, engine: Engine) -> tuple[Path, Path]:
    """Two rejected files of a run that registered others; the catalogue has no other rejections."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM rejected_files"))
    write_raster(tmp_path / "good.tif")
    half, nowhere = tmp_path / "half.tif", write_raster(tmp_path / "nowhere.tif", crs=None)
    half.write_bytes(write_raster(tmp_path / "whole.tif").read_bytes()[:300])
    run_command(database_url, "register", tmp_path, "--organisation", "Owner", "--create", status=3)
    return half, nowhere


def list_rejected(url: str, *options: str) -> list[dict[str, Any]]:
    """Return what `rejected list --json` prints."""
    lines = run_command(url, "rejected", "list", "--json", *options).splitlines()
    return [json.loads(line) for line in lines]


def test_the_list_names_each_file_with_its_reason(
    rejected_files: tuple[Path, Path], database_url: str
) -> None:
    half, nowhere = rejected_files
    rejections = list_rejected(database_url)
    assert [(row["uri"], row["code"]) for row in rejections] == [
        (half.as_uri(), "truncated"),
        (nowhere.as_uri(), "missing_crs"),
    ]
    assert {row["organisation"] for row in rejections} == {"Owner"}
    assert {row["definition"] for row in rejections} == {"register"}
    assert list_rejected(database_url, "--code", "missing_crs") == rejections[1:]
    assert list_rejected(database_url, "--definition", "another") == []
    lines = run_command(database_url, "rejected", "list").splitlines()
    assert lines[0].startswith(f"{rejections[0]['id']} register since ")
    assert lines[0].endswith(f"(1x) {half.as_uri()}: {rejections[0]['message']} [truncated]")


def test_retry_forgets_the_fingerprints(
    rejected_files: tuple[Path, Path], database_url: str
) -> None:
    half, nowhere = rejected_files
    rejection_id = list_rejected(database_url)[-1]["id"]

    def uris_with_fingerprint() -> list[str]:
        return [row["uri"] for row in list_rejected(database_url) if row["fingerprint"]]

    assert {half.as_uri(), nowhere.as_uri()} <= set(uris_with_fingerprint())
    assert (
        run_command(database_url, "rejected", "retry", half) == "the next run reads 1 file again\n"
    )
    assert half.as_uri() not in uris_with_fingerprint()
    run_command(database_url, "rejected", "retry", str(rejection_id), half.as_uri())
    assert nowhere.as_uri() not in uris_with_fingerprint()
    run_command(database_url, "rejected", "retry", "--all")
    assert uris_with_fingerprint() == []


def test_retry_names_unknown_files_and_changes_nothing(
    rejected_files: tuple[Path, Path], database_url: str
) -> None:
    half, _ = rejected_files
    message = run_command(database_url, "rejected", "retry", half, "/nothing.tif", status=1)
    assert message == (
        "rastersources: file:///nothing.tif is not a rejected file; list them with: rastersources rejected list\n"
    )
    assert half.as_uri() in {
        row["uri"] for row in list_rejected(database_url) if row["fingerprint"]
    }
    assert "choose files by" in run_command(database_url, "rejected", "retry", status=1)


def test_sync_skips_a_rejected_file_until_it_is_retried(
    tmp_path: Path, database_url: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM rejected_files"))
    write_raster(tmp_path / "a.tif", crs=None)
    (tmp_path / "sources.toml").write_text(
        f'[[source]]\nid = "a"\nfiles = "{tmp_path}/*.tif"\norganisation = "Owner"\n'
    )

    def sync_and_count_attempts() -> int:
        config = str(tmp_path / "sources.toml")
        run_command(database_url, "sync", "--config", config, "--create", status=3)
        (row,) = list_rejected(database_url, "--definition", "a")
        return int(row["attempts"])

    assert [sync_and_count_attempts(), sync_and_count_attempts()] == [1, 1]
    run_command(database_url, "rejected", "retry", "--definition", "a")
    assert [sync_and_count_attempts(), sync_and_count_attempts()] == [2, 2]
