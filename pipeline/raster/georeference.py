"""Places a raster: from its grid and its CRS to where it lies on the earth."""

from pipeline.raster.facts import Georeference
from pipeline.raster.grid import FileCRS, Grid


def place(
    grid: Grid, crs: FileCRS, policy: str = "lizard", gcp_residual_pixels: float = 2.0
) -> Georeference:
    """The place of a raster in its own CRS and in WGS 84.

    Raises NoGrid, ResidualTooLarge, MissingCRS, UnsupportedCRS or OutsideCRSDomain.
    """
    raise NotImplementedError
