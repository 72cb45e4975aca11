"""The fast ways of reading are faster: ratios within one run, with wide margins."""

from pathlib import Path

from benchmarks.reading import measure_reading
from pipeline.storage.local import find_file
from tests.raster.test_plain_tiff import write_cog_or_tiles


def test_our_tags_and_batches_take_half_the_time_of_gdal_and_single_grids(tmp_path: Path) -> None:
    paths = [write_cog_or_tiles(tmp_path / f"{index}.tif", index) for index in range(60)]
    seconds = measure_reading([find_file(path, [tmp_path]) for path in paths])
    by_gdal = seconds["the same, described by GDAL"]
    assert by_gdal >= 2 * seconds["the same, described by our tags"]
    assert seconds["place one by one"] >= 2 * seconds["place together"]
