"""The limits on what reading one file may cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Limits for one file; a file beyond one of them is rejected with `over_budget` or `timeout`."""

    header_bytes: int = 64 * 2**20
    """All tags together. Also what may be fetched of an object."""
    ifds: int = 1_000
    """Images, overviews and masks in one file."""
    tag_bytes: int = 16 * 2**20
    """Values of one tag, or metadata in one sidecar."""
    bands: int = 10_000
    pixels: int = 10**14
    """Width x height."""
    seconds: float = 20.0
    """For the header; where pixels are read, the longest time without progress."""
    statistics_pixels: int = 4 * 10**9
    """Values that are read for statistics, over all bands: minutes of work."""
    block_bytes: int = 256 * 2**20
    """Size of one unpacked block, with all bands in it, where pixels are read."""
