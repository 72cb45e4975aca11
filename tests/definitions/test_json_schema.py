"""The JSON Schema of sources.toml: editors and the program agree."""

import json
import re
import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.definitions.sources_toml import load_config
from pipeline.errors import CatalogueError
from tests.support.commands import RASTERSOURCES, REPOSITORY, run

SCHEMA = json.loads((REPOSITORY / "docs" / "sources.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
SAMPLES = (REPOSITORY / "sample_data" / "sources.toml").read_text()
EXAMPLES = re.findall(
    r"```toml\n(.*?)```", (REPOSITORY / "docs" / "sources.md").read_text(), re.DOTALL
)
SOURCE = '[[source]]\nid = "rain"\nfiles = "*.tif"\norganisation = "A"\n'
DROP = '[[drop]]\nid = "in"\nfolder = "in"\n'


def as_json(value: Any) -> Any:
    """Return a TOML value as editors see it: times are texts."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: as_json(element) for key, element in value.items()}
    return [as_json(element) for element in value] if isinstance(value, list) else value


def fits_the_schema(text: str) -> bool:
    return not list(VALIDATOR.iter_errors(as_json(tomllib.loads(text))))


def is_accepted(text: str, folder: Path) -> bool:
    path = folder / "sources.toml"
    path.write_text(text)
    try:
        load_config(path)
    except CatalogueError:
        return False
    return True


def test_the_schema_is_valid_and_up_to_date() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(run([*RASTERSOURCES, "sources", "schema"]).stdout) == SCHEMA


def test_every_key_is_described() -> None:
    for table in (SCHEMA, *SCHEMA["$defs"].values()):
        for key, field in table["properties"].items():
            assert field["description"], key


def test_the_samples_name_the_schema() -> None:
    first = SAMPLES.splitlines()[0]
    assert first.startswith("#:schema ")
    assert (REPOSITORY / "sample_data" / first.removeprefix("#:schema ")).samefile(
        REPOSITORY / "docs" / "sources.schema.json"
    )


@pytest.mark.parametrize(
    "text",
    [
        SAMPLES,
        *EXAMPLES,
        SOURCE + "interval = 300\n",
        SOURCE + "interval = 00:05:00\n",
        SOURCE + 'interval = "2 days, 00:05:00.5"\nevery = "P1DT2H"\n',
        SOURCE + 'pattern = "(?P<time>.+)"\ntime_format = "%Y%m%d"\n',
        SOURCE.replace('"*.tif"', '["a", "b"]'),
        SOURCE + "time = 2024-01-01T00:00:00Z\n",
        SOURCE + 'time = "tag"\n',
        SOURCE + 'group = "all"\nuuid = "4f3b1fd6-2bd6-4a55-8a3c-d3ca1af7bb7a"\n',
        SOURCE + 'crs = "EPSG:28992"\ncrs_override = true\nnodata = -9999\n',
        SOURCE + 'crs = "esri:102039"\nnodata = "nan"\n',
        DROP + 'crs = "EPSG:4326"\nnodata = nan\n',
        DROP,
        DROP + 'organisation = "A"\n',
        DROP + 'organisation = ["A", "B"]\n',
    ],
)
def test_the_schema_and_the_program_accept_the_same_files(text: str, tmp_path: Path) -> None:
    assert fits_the_schema(text)
    assert is_accepted(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[source]]\n",
        "[source]\nid = 'a'\n",
        "[[sources]]\n",
        SOURCE.replace('id = "rain"', 'id = "register"'),
        SOURCE.replace('id = "rain"', 'id = "ra in"'),
        SOURCE.replace('"*.tif"', "[]"),
        SOURCE.replace('"*.tif"', '""'),
        SOURCE.replace('"*.tif"', "1"),
        SOURCE + "intervall = 5\n",
        SOURCE + 'interval = "soon"\n',
        SOURCE + "interval = true\n",
        SOURCE + "interval = -1\n",
        SOURCE + "every = 0.5\n",
        SOURCE + 'schedule = "* * *"\n',
        SOURCE + 'schedule = "0 6 * * *"\nevery = 60\n',
        SOURCE + 'uuid = "4f3b1fd6-2bd6-4a55-8a3c-d3ca1af7bb7a"\n',
        SOURCE + 'group = "all"\nuuid = "4f3b"\n',
        SOURCE + 'temporal = "yes"\n',
        SOURCE + 'settle_seconds = "5"\n',
        SOURCE + "max_missing_percent = 120\n",
        SOURCE + 'missing = "forget"\n',
        SOURCE + 'access_modifier = "public"\n',
        SOURCE + 'pattern = "("\n',
        SOURCE + "limits = { pixels = 0 }\n",
        SOURCE + "limits = { pixels = 1.5 }\n",
        SOURCE + "limits = { pages = 1 }\n",
        SOURCE + 'crs = "RD New"\n',
        SOURCE + "crs_override = true\n",
        SOURCE + 'nodata = "none"\n',
        DROP + "nodata = true\n",
        DROP + 'uuid = "x"\n',
        DROP + 'done = ""\n',
        DROP + "organisation = []\n",
        DROP + 'organisation = ["A", ""]\n',
        DROP.replace('folder = "in"\n', ""),
    ],
)
def test_the_schema_and_the_program_reject_the_same_files(text: str, tmp_path: Path) -> None:
    assert not fits_the_schema(text)
    assert not is_accepted(text, tmp_path)
