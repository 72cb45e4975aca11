"""Which GDAL and PROJ read and place files here, and which grid files PROJ lacks. For `rastersources doctor`."""

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
    """Return the grid files that the best operation from each of these CRSs to WGS 84 needs, where they are missing."""
    set_network_enabled(False)
    missing = {}
    for projection in projections:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                group = TransformerGroup(projection, "EPSG:4326", always_xy=True)
        except (ProjError, CRSError):  # a code that this PROJ does not know
            continue
        if not group.best_available:
            grids = group.unavailable_operations[0].grids
            missing[projection] = tuple(grid.short_name for grid in grids if not grid.available)
    return missing
