"""Finds the versions of GDAL and PROJ and missing grid files of PROJ, for `rastersources doctor`."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import pyproj
import rasterio
from pyproj.datadir import get_data_dir, get_user_data_dir  # type: ignore[attr-defined]
from pyproj.exceptions import CRSError, ProjError
from pyproj.network import set_network_enabled  # type: ignore[attr-defined]
from pyproj.transformer import TransformerGroup


def find_libraries() -> tuple[str, str, int]:
    """Return the versions of GDAL and PROJ, and the number of grid files in PROJ's folders."""
    folders = [*get_data_dir().split(":"), get_user_data_dir()]
    grids = {path.name for folder in folders for path in Path(folder).glob("*.tif")}
    return rasterio.__gdal_version__, pyproj.proj_version_str, len(grids)


def missing_grids(projections: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return CRS -> missing grid files of its best operation to WGS 84, for each of these CRSs that lacks some."""
    set_network_enabled(False)
    missing = {}
    for projection in projections:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                group = TransformerGroup(projection, "EPSG:4326", always_xy=True)
        except (ProjError, CRSError):  # this version of PROJ does not have the code
            continue
        if not group.best_available:
            grids = group.unavailable_operations[0].grids
            missing[projection] = tuple(grid.short_name for grid in grids if not grid.available)
    return missing
