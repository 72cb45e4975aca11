"""Grids that are placed together get the place, to the last bit, that each of them gets alone."""

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine

from pipeline.errors import RasterError
from pipeline.raster.models import Grid
from pipeline.raster.placement.crs import horizontal_crs
from pipeline.raster.placement.georeference import (
    georeference_grids,
    locate_alone,
)
from pipeline.raster.placement.operations import list_candidates
from pipeline.raster.placement.projector import Projector
from pipeline.raster.placement.regular_grids import locate_regular_grids
from tests.raster.placement.test_properties import PLACES, file_crs

REGULAR = {"EPSG:28992": ((1e4, 2.7e5), (3e5, 6.2e5), 3e4), "EPSG:4258": ((-9, 30), (36, 70), 5)}


def make_grids(definition: str, count: int, largest: float | None = None) -> list[Grid]:
    """Return random grids of all places and sizes, some of them rotated."""
    (left, right), (low, high), side = {**PLACES, **REGULAR}[definition]
    random = np.random.default_rng([*definition.encode()])
    grids = []
    for _ in range(count):
        across, down = (largest or side) * 10.0 ** random.uniform(-4, 0, 2)
        width, height = (int(size) for size in random.integers(1, 5000, 2))
        transform = (
            Affine.translation(random.uniform(left, right), random.uniform(low, high))
            @ Affine.rotation(random.choice([0.0, 0.0, 0.0, 30.0, 90.0, 217.0]))
            @ Affine.scale(across / width, random.choice([-1.0, 1.0]) * down / height)
            @ Affine.translation(-width / 2, -height / 2)
        )
        grids.append(Grid(width, height, transform))
    return grids


@pytest.mark.parametrize("definition", [*PLACES, *REGULAR])
def test_regular_grids_get_the_place_that_each_gets_alone(definition: str) -> None:
    crs = horizontal_crs(file_crs(definition).wkt)
    candidate = list_candidates(crs, "lizard")[0]
    projectors = [
        Projector(grid.transform, grid.width, grid.height, crs, candidate)
        for grid in make_grids(definition, 60)
        if grid.transform is not None
    ]
    places = locate_regular_grids(projectors)
    assert sum(place is not None for place in places) >= 5
    for projector, place in zip(projectors, places, strict=True):
        if place is not None:
            extent, footprint, warnings = locate_alone(projector)
            assert (place[0], place[1].wkb, ()) == (extent, footprint.wkb, warnings)


@pytest.mark.parametrize("definition", REGULAR)
def test_ordinary_grids_are_regular(definition: str) -> None:
    crs = horizontal_crs(file_crs(definition).wkt)
    candidate = list_candidates(crs, "lizard")[0]
    side = 1e4 if definition == "EPSG:28992" else 0.5
    projectors = [
        Projector(grid.transform, grid.width, grid.height, crs, candidate)
        for grid in make_grids(definition, 200, side)
        if grid.transform is not None
    ]
    assert sum(place is not None for place in locate_regular_grids(projectors)) >= 190


@pytest.mark.parametrize("definition", [*PLACES, *REGULAR])
def test_a_batch_gives_the_places_that_its_grids_get_one_by_one(definition: str) -> None:
    grids, crs = make_grids(definition, 40), file_crs(definition)
    grids.append(Grid(10, 10, Affine(1.0, 0.0, 1e30, 0.0, -1.0, 1e30)))
    together = georeference_grids(grids, crs, "best-available", 2.0)
    for grid, place in zip(grids, together, strict=True):
        # A grid that differs, so that no cache answers.
        alone_grid = replace(grid, has_rpcs=True)
        (alone,) = georeference_grids([alone_grid], crs, "best-available", 2.0)
        if isinstance(place, RasterError):
            assert (type(alone), str(alone)) == (type(place), str(place))
        else:
            assert alone == place
