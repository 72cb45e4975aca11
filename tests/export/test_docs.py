"""The programs of the pages about exports print what the pages say."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import RASTERSOURCES, REPOSITORY, run
from tests.support.docs_commands import find_code_blocks, matches


@pytest.fixture(scope="module")
def samples(database_url: str) -> str:
    """The catalogue of `make run`."""
    sync = [*RASTERSOURCES, "sync", "--create", "--config", "sample_data/sources.toml"]
    run(sync, RASTERSOURCES_DATABASE_URL=database_url)
    return database_url


@pytest.mark.parametrize("page", ["duckdb", "gdal-gti"])
def test_programs_print_what_the_page_says(page: str, samples: str, tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "how-to" / f"{page}.md").read_text()
    words = shlex.split(find_code_blocks("sh", text)[0])
    program_at = words.index("rastersources")
    settings: dict[str, Any] = dict(word.split("=", 1) for word in words[:program_at])
    command = [*RASTERSOURCES, *words[program_at + 1 :]]
    run(command, cwd=tmp_path, RASTERSOURCES_DATABASE_URL=samples, **settings)
    program = "\n".join(find_code_blocks("python", text))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert matches("".join(find_code_blocks("text", text)), done.stdout), done.stdout + done.stderr
