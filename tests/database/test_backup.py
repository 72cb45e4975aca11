"""A dump of the catalogue is restored by the commands of docs/how-to/backup.md, row by row."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from psycopg import connect, sql

from tests.conftest import new_database
from tests.support.commands import RASTERSOURCES, REPOSITORY, run
from tests.support.docs_commands import find_code_blocks

PAGE = (REPOSITORY / "docs" / "how-to" / "backup.md").read_text()
DUMP, RESTORE = find_code_blocks("sh", PAGE)


@pytest.mark.skipif(not shutil.which("pg_dump"), reason="PostgreSQL's programs are missing")
def test_a_restored_dump_has_every_row(database_url: str, server: str, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    samples = REPOSITORY / "sample_data" / "sources.toml"
    run(
        [*RASTERSOURCES, "sync", "--create", "--config", samples],
        RASTERSOURCES_DATABASE_URL=database_url, RASTERSOURCES_HOME=home,
    )  # fmt: skip
    run_postgresql_commands(DUMP, tmp_path, database_url)
    with new_database(server, "template1") as restored:
        run_postgresql_commands(RESTORE, tmp_path, restored)
        assert read_rows(restored) == read_rows(database_url)
        count = run(
            [*RASTERSOURCES, "search", "--count"],
            RASTERSOURCES_DATABASE_URL=restored, RASTERSOURCES_HOME=home,
        )  # fmt: skip
        assert count.stdout == "10\n"


def run_postgresql_commands(block: str, folder: Path, url: str) -> None:
    """Run those commands of a block that are PostgreSQL's own, on a database."""
    commands = "\n".join(line for line in block.splitlines() if line.startswith("pg_"))
    settings = {**os.environ, "RASTERSOURCES_DATABASE_URL": url}
    subprocess.run(["sh", "-ec", commands], check=True, cwd=folder, env=settings)


def read_rows(url: str) -> dict[str, list[str]]:
    """Return the rows of each table as text, sorted."""
    tables = (
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'm') AND relname <> 'spatial_ref_sys' ORDER BY relname"
    )
    with connect(url) as connection:
        names = [name for (name,) in connection.execute(tables)]
        query = sql.SQL("SELECT row::text FROM {} AS row ORDER BY 1")
        rows = {
            name: [text for (text,) in connection.execute(query.format(sql.Identifier(name)))]
            for name in names
        }
    assert len(rows["raster_files"]) == 13
    return rows
