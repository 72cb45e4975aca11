"""The coordinate operation from a raster's CRS to WGS 84."""

import numpy as np
import pyproj
import pytest
from pyproj import CRS
from pyproj.network import (  # type: ignore[attr-defined]
    is_network_enabled,
    set_network_enabled,
)

from pipeline.errors import UnsupportedCRS
from pipeline.raster.placement.crs import horizontal_crs
from pipeline.raster.placement.operations import (
    PINNED_OPERATIONS,
    Candidate,
    choose_candidates,
    lies_within,
    list_candidates,
)


def choose_operation(
    definition: object, longitude: float, latitude: float, policy: str = "lizard"
) -> Candidate:
    crs = horizontal_crs(CRS.from_user_input(definition).to_wkt())
    return choose_candidates(crs, policy, np.array([[longitude]]), np.array([[latitude]]))[0]


@pytest.mark.parametrize("policy", ["lizard", "best-available"])
def test_rd_uses_the_pinned_operation(policy: str) -> None:
    candidate = choose_operation(28992, 5.4, 52.1, policy)
    assert candidate.operation.code == PINNED_OPERATIONS["EPSG:28992"] == "EPSG:15934"
    assert candidate.operation.name == "Amersfoort to WGS 84 (3)"
    assert candidate.operation.accuracy == 1.0
    assert candidate.operation.proj_version == pyproj.proj_version_str


@pytest.mark.parametrize(
    ("longitude", "latitude", "code"),
    [
        # NAD27 in the west of the United States, in Cuba and in central America, by the areas
        # that the EPSG registry gives for these operations.
        (-117.6, 33.9, "EPSG:1175"),
        (-80.0, 22.0, "EPSG:15978"),
        (-86.0, 13.0, "EPSG:1171"),
    ],
)
def test_the_most_accurate_operation_for_the_area_is_chosen(
    longitude: float, latitude: float, code: str
) -> None:
    assert choose_operation(4267, longitude, latitude).operation.code == code


def test_an_operation_for_all_points_beats_an_accurate_one_for_some() -> None:
    crs = horizontal_crs(CRS.from_epsg(4267).to_wkt())
    (candidate,) = choose_candidates(
        crs, "lizard", np.array([[-117.0, -75.0]]), np.array([[34.0, 41.0]])
    )
    # NAD27 to WGS 84 (4), for the conterminous United States.
    assert candidate.operation.code == "EPSG:1173"


def test_policy_lizard_needs_no_grid_file() -> None:
    for code in (4267, 27700, 28992, 31467):
        crs = horizontal_crs(CRS.from_epsg(code).to_wkt())
        assert not any(candidate.grids for candidate in list_candidates(crs, "lizard"))


def test_the_network_stays_off() -> None:
    set_network_enabled(True)
    list_candidates.cache_clear()
    choose_operation(28992, 5.4, 52.1)
    assert not is_network_enabled()


def test_the_ballpark_operation_is_used_only_without_another_one() -> None:
    assert not choose_operation(4267, -117.6, 33.9).ballpark
    assert choose_operation(4267, 100.0, 0.0).ballpark


def test_an_unknown_datum_copies_longitude_and_latitude() -> None:
    candidate = choose_operation("+proj=sinu +R=6371007.181 +type=crs", 5.0, 52.0)
    assert candidate.ballpark
    assert (candidate.operation.code, candidate.operation.accuracy) == (None, None)


def test_a_chain_of_operations_is_recorded_with_all_its_codes() -> None:
    candidate = choose_operation(27572, 2.0, 47.0)
    assert candidate.operation.code == "EPSG:1763+EPSG:1193"


def test_another_planet_is_rejected() -> None:
    mars = CRS.from_user_input("IAU_2015:49900").to_wkt()
    with pytest.raises(UnsupportedCRS, match="celestial"):
        list_candidates(horizontal_crs(mars), "lizard")


def test_an_unknown_policy_raises_value_error() -> None:
    with pytest.raises(ValueError, match="best-available"):
        choose_operation(4326, 0.0, 0.0, "fastest")


def test_areas_may_cross_the_antimeridian() -> None:
    area = (172.0, 51.0, -164.0, 55.0)
    longitude = np.array([175.0, -170.0, 0.0, 175.0])
    latitude = np.array([52.0, 52.0, 52.0, 60.0])
    assert lies_within(area, longitude, latitude).tolist() == [True, True, False, False]
