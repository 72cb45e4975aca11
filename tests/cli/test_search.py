"""`rastersources search` and `show`, compared with the places of three rasters and with SQL."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from affine import Affine
from sqlalchemy import Engine

from pipeline.catalogue.filters import RASTER_SOURCES
from pipeline.cli import search
from tests.cli.conftest import run_command
from tests.support.commands import RASTERSOURCES, environment, run
from tests.support.database import execute, rows
from tests.support.factory import write_raster

WGS84 = "EPSG:4326"
PLACES = {"Rotterdam": (4, 52), "Emmen": (6, 53), "Fiji": (179, -16)}
"""Upper left corners of rasters of two by one degrees; that of Fiji crosses the antimeridian."""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory, database_url: str, engine: Engine) -> str:
    """Three sources: Rotterdam is Public, Emmen Private and of another organisation, Fiji Hidden."""
    folder = tmp_path_factory.mktemp("places")
    for name, (west, north) in PLACES.items():
        transform = Affine(0.1, 0, west, 0, -0.1, north)
        write_raster(folder / f"{name}.tif", width=20, height=10, crs=WGS84, transform=transform)
    for name, access in (("Rotterdam", "Public"), ("Emmen", "Private"), ("Fiji", "Hidden")):
        owner = "Other" if name == "Emmen" else "Owner"
        options = ["--organisation", owner, "--access-modifier", access, "--create"]
        options += ["--time", "2024-05-01T00:00:00Z"] if name == "Emmen" else []
        run(
            [*RASTERSOURCES, "register", folder / f"{name}.tif", *options],
            RASTERSOURCES_DATABASE_URL=database_url,
        )
    execute(engine, "INSERT INTO users (username) VALUES ('member')")
    execute(
        engine,
        "INSERT INTO roles (user_id, organisation_id, role) "
        "SELECT users.id, organisations.id, 'user' FROM users, organisations WHERE name = 'Other'",
    )
    return database_url


def search_names(url: str, *words: str) -> list[str]:
    """Return the names of the sources, in the printed order."""
    return [
        json.loads(line)["name"]
        for line in run_command(url, "search", "--json", *words).splitlines()
    ]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["Rotterdam", "Emmen", "Fiji"]),
        (["--bbox", "4,51,5,52"], ["Rotterdam"]),
        (["--bbox", "-179.5,-17,-179.2,-16.5"], ["Fiji"]),
        (["--in-bbox", "0,50,10,54", "--ordering", "name"], ["Emmen", "Rotterdam"]),
        (["--point", "6.5,52.5"], ["Emmen"]),
        (["--name-icontains", "ROTT"], ["Rotterdam"]),
        (["--name-icontains="], ["Rotterdam", "Emmen", "Fiji"]),
        (["--organisation-name", "Other"], ["Emmen"]),
        (["--access-modifier", "hidden"], ["Fiji"]),
        (["--since", "2024-01-01"], ["Emmen"]),
        (["--until", "2023-12-31"], ["Rotterdam", "Fiji"]),
        (["--changed-since", "2999-01-01"], []),
        (["--limit", "1", "--ordering=-name"], ["Rotterdam"]),
        (["--as", "member"], ["Rotterdam", "Emmen"]),
    ],
)
def test_a_search_finds_the_matching_sources(
    catalogue: str, words: list[str], names: list[str]
) -> None:
    assert search_names(catalogue, *words) == names
    if "--limit" not in words:
        words_to_count = [
            word for word in words if not word.startswith("--ordering") and word != "name"
        ]
        assert run_command(catalogue, "search", "--count", *words_to_count) == f"{len(names)}\n"


def test_every_filter_of_the_api_is_an_option(catalogue: str) -> None:
    parameters = {
        f"{field.name}__{lookup}" if lookup else field.name
        for field in RASTER_SOURCES
        for lookup in field.kind.lookups
    }
    options = {option.opts[0] for option in search.filter_options()}
    assert len(options) == len(parameters) + len(search.ALIASES)
    for parameter in parameters:
        assert "--" + parameter.replace("__", "-").replace("_", "-") in options
    help_text = run_command(catalogue, "search", "--help")
    assert "--name VALUE" in help_text
    assert "--name-icontains VALUE" not in help_text
    assert "-icontains" in help_text


def test_json_has_the_words_of_the_api_and_the_values_of_the_database(
    catalogue: str, engine: Engine
) -> None:
    (line,) = run_command(catalogue, "search", "--json", "--name", "Fiji").splitlines()
    document = json.loads(line)
    (row,) = rows(engine, "SELECT * FROM raster_sources WHERE name = 'Fiji'")
    assert document["uuid"] == str(row.uuid)
    assert document["organisation"] == "Owner"
    assert document["access_modifier"] == "Hidden"
    assert document["spatial_bounds"] == {"west": 179, "south": -17, "east": -179, "north": -16}
    assert document["first_value_timestamp"] == "1970-01-01T00:00:00Z"
    assert document["size"] == row.size


def test_csv_and_geojson_have_the_forms_that_other_programs_read(catalogue: str) -> None:
    table = list(csv.DictReader(run_command(catalogue, "search", "--csv").splitlines()))
    assert [(row["name"], float(row["west"]), row["temporal"]) for row in table] == [
        ("Rotterdam", 4.0, "false"),
        ("Emmen", 6.0, "false"),
        ("Fiji", 179.0, "false"),
    ]
    collection = json.loads(run_command(catalogue, "search", "--geojson"))
    assert collection["type"] == "FeatureCollection"
    shapes = {
        feature["properties"]["name"]: feature["geometry"] for feature in collection["features"]
    }
    ring = [[4, 51], [4, 52], [6, 52], [6, 51], [4, 51]]
    assert shapes["Rotterdam"] == {"type": "MultiPolygon", "coordinates": [[ring]]}
    assert len(shapes["Fiji"]["coordinates"]) == 2  # cut at the antimeridian
    assert (
        json.loads(run_command(catalogue, "search", "--geojson", "--name", "none"))["features"]
        == []
    )


def test_a_pipe_gets_one_line_with_tabs_for_each_source(catalogue: str) -> None:
    lines = run_command(catalogue, "search", "--ordering", "name").splitlines()
    assert [line.split("\t")[1:4] for line in lines] == [
        ["Emmen", "Other", "Private"],
        ["Fiji", "Owner", "Hidden"],
        ["Rotterdam", "Owner", "Public"],
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--bbox", "1,2"], '--bbox "1,2": must be 4 numbers'),
        (["--ordering", "colour"], '--ordering "colour": must be one of name, '),
        (["--temporal", "maybe"], '--temporal "maybe": must be true or false'),
        (["--created-gte", "yesterday"], '--created-gte "yesterday": must be a time such as '),
        (["--since", "yesterday"], '--since "yesterday": must be a time such as '),
        (["--json", "--csv"], "choose one of --json, --csv"),
        (["--name-regex", "("], "a value is not usable: invalid regular expression: "),
        (["--as", "nobody"], 'there is no user "nobody"; add one with'),
    ],
)
def test_a_wrong_value_gives_one_sentence(catalogue: str, words: list[str], sentence: str) -> None:
    errors = run_command(catalogue, "search", *words, status=1)
    assert sentence in errors
    assert len(errors.splitlines()) == 1


def test_a_full_disk_gives_one_sentence(catalogue: str) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*RASTERSOURCES, "search", "--csv"], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env=environment(RASTERSOURCES_DATABASE_URL=catalogue),
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "rastersources: the output cannot be written, because its disk is full; free some space\n"
    )


def test_show_prints_all_fields_and_draws_the_footprint(
    catalogue: str, engine: Engine, tmp_path: Path
) -> None:
    (row,) = rows(engine, "SELECT uuid FROM raster_sources WHERE name = 'Rotterdam'")
    by_uuid = run_command(catalogue, "show", str(row.uuid))
    assert (
        by_uuid
        == run_command(catalogue, "show", "Rotterdam")
        == run_command(catalogue, "show", "otterd")
    )
    fields = dict(line.split("  ", 1) for line in by_uuid.splitlines() if "  " in line)
    assert fields["organisation"].strip() == "Owner"
    assert fields["spatial_bounds"].strip().startswith("west 4.0000000, south 51.0000000, east 6.0")
    assert fields["dtype"].strip() == "f4"
    document: dict[str, Any] = json.loads(run_command(catalogue, "show", "Rotterdam", "--json"))
    (file,) = document["files"]
    assert file["uri"].endswith("/Rotterdam.tif")
    assert (file["width"], file["height"], file["projection"]) == (20, 10, WGS84)


def test_the_drawing_shows_where_files_lie_and_where_not(tmp_path: Path, catalogue: str) -> None:
    # two of four quarters of a box of 40 by 20 pixels, at both sides of the antimeridian
    for name, west, north in (("north_west", 178, 10), ("south_east", 180, 9)):
        transform = Affine(0.1, 0, west, 0, -0.1, north)
        write_raster(tmp_path / f"{name}.tif", width=20, height=10, crs=WGS84, transform=transform)
    (tmp_path / "sources.toml").write_text(
        '[[source]]\nid = "quarters"\nfiles = "*.tif"\nname = "Quarters"\norganisation = "Owner"\n'
        'group = "all"\n'
    )
    run([*RASTERSOURCES, "sync"], cwd=tmp_path, RASTERSOURCES_DATABASE_URL=catalogue)
    lines = run_command(catalogue, "show", "Quarters").splitlines()
    drawing = [line for line in lines if line.startswith("|")]
    half, columns = len(drawing) // 2, len(drawing[0]) - 2
    assert drawing[:half] == [f"|{'#' * (columns // 2)}{'.' * (columns // 2)}|"] * half
    assert drawing[-half:] == [f"|{'.' * (columns // 2)}{'#' * (columns // 2)}|"] * half
    # 4 by 2 degrees at the equator, and characters that are twice as high as wide
    assert abs(columns / len(drawing) - 4) < 0.5


def test_a_name_of_several_sources_lists_them(catalogue: str, engine: Engine) -> None:
    errors = run_command(catalogue, "show", "m", status=1)
    uuids = {
        str(row.uuid)
        for row in rows(
            engine, "SELECT uuid FROM raster_sources WHERE name IN ('Rotterdam', 'Emmen')"
        )
    }
    assert "give the uuid of one" in errors.splitlines()[0]
    assert {uuid for uuid in uuids if uuid in errors} == uuids
    assert "Fiji" not in errors
    not_found = run_command(catalogue, "show", "nothing", status=1)
    assert 'no raster source is called "nothing"; search' in not_found
    unknown = run_command(catalogue, "show", str(UUID(int=0)), status=1)
    assert f'no raster source has the uuid "{UUID(int=0)}"; search' in unknown


def test_a_large_search_takes_little_memory(catalogue: str, engine: Engine) -> None:
    """Twenty-five thousand rows of 6 kB each are 150 MB."""
    execute(
        engine,
        "INSERT INTO raster_sources (name, description, organisation_id) "
        "SELECT 'many ' || number, repeat('x', 6000), organisations.id "
        "FROM organisations, generate_series(1, 25000) AS number WHERE organisations.name = 'Owner'",
    )
    program = (
        "import resource, sys\n"
        "from pipeline.cli.main import main\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
    )
    python = [RASTERSOURCES[0], "-c", program, "search", "--json", "--name-startswith", "many "]
    few = run([*python, "--limit", "1"], RASTERSOURCES_DATABASE_URL=catalogue)
    many = run(python, RASTERSOURCES_DATABASE_URL=catalogue)
    assert len(many.stdout.splitlines()) == 25_000
    assert int(many.stderr) - int(few.stderr) < 40
