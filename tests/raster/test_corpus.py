"""Real files, compared with metadata that were derived by other means."""

import json
from typing import Any

import pytest

from pipeline.errors import RasterError
from pipeline.raster import RasterFile
from tests.support.commands import CORPUS
from tests.support.factory import read_path
from tests.support.needs import needs_corpus

pytestmark = needs_corpus


def load_truths() -> list[dict[str, Any]]:
    if not CORPUS.is_dir():
        return []
    return [json.loads(line) for line in (CORPUS / "truth.jsonl").read_text().splitlines()]


def file_name(truth: dict[str, Any]) -> str:
    return str(truth["file"])


def fields_of_truth(raster: RasterFile) -> dict[str, Any]:
    """Return the fields of our record that a truth has."""
    georeference = raster.georeference
    bounds = georeference.bounds
    return {
        **{name: getattr(raster, name) for name in ("driver", "width", "height", "count")},
        **{name: getattr(raster, name) for name in ("dtype", "fill_value", "size")},
        **{name: getattr(georeference, name) for name in ("projection", "pixelsize_x", "pixelsize_y")},
        **{name: getattr(georeference, name) for name in ("origin_x", "origin_y")},
        **{name: getattr(georeference, name) for name in ("upper_bound_x", "upper_bound_y")},
        "datetime": f"{raster.datetime:%Y-%m-%dT%H:%M:%SZ}" if raster.datetime else None,
        "spatial_bounds": {
            "west": bounds.west, "east": bounds.east, "north": bounds.north, "south": bounds.south,
        },
    }  # fmt: skip


def approximate(value: Any, tolerance: float) -> Any:
    if isinstance(value, dict):
        return pytest.approx(value, rel=0, abs=tolerance)
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


@pytest.mark.parametrize(
    "truth", [truth for truth in load_truths() if not truth.get("debatable")], ids=file_name
)
def test_a_file_of_the_corpus_agrees_with_its_truth(truth: dict[str, Any]) -> None:
    path = CORPUS / truth["file"]
    if truth["outcome"] == "reject":
        with pytest.raises(RasterError):
            read_path(path)
        return
    for name, value in fields_of_truth(read_path(path)).items():
        if name not in truth.get("debatable_fields", ()):
            accepted = truth.get("accept", {}).get(name, [truth[name]])
            assert any(
                value == approximate(accepted_value, truth["bounds_tol"])
                for accepted_value in accepted
            ), name


DECISIONS = {
    # A file without a CRS or a geotransform is rejected: nothing is guessed.
    "missing_crs": {"pumpcap.tif", "no_crs_ds.tif", "float_nan.tif"},
    "no_grid": {
        "be_cog.tiff", "test_rpcs_ext_file.tif", "cmyk-3c-32b-float.tiff",
        "geogtowgs_subset_USGS_13_s14w171.tif", "logluv-3c-16b.tiff", "BigTIFFLong8Tiles.tif",
        "gradient-3c-64b.tiff", "int8.tif", "minisblack-1c-5b.tiff", "single-black-fp16.tiff",
        "CB07_TIFFv1-02.tif", "sample_bigtiff.tif",
    },
    "unsupported_crs": {"cog_hirise_mars.tif"},
    "multiple_images": {"emptyexiftag.tif", "multipage.tiff"},
    "truncated": {
        "sample-get-lzw-stuck.tiff", "crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif",
    },
    # Rotated grids and good control points are placed.
    None: {
        "dep.tif", "2d_test.tif", "gcp.tif",
        "austrian_capitals_model_tie_points_pixel_is_area.tif",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "truth", [truth for truth in load_truths() if truth.get("debatable")], ids=file_name
)
def test_a_debatable_file_is_decided_as_documented(truth: dict[str, Any]) -> None:
    path = CORPUS / truth["file"]
    code = None
    try:
        read_path(path)
    except RasterError as error:
        code = error.code
    assert path.name in DECISIONS[code]
