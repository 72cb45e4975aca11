"""The limits for reading one file."""

from dataclasses import dataclass


def raise_limit(name: str, setting: str | None = None) -> str:
    """Return the advice of a message for a valid file that exceeds the limit of this name."""
    setting = setting or f"RASTERSOURCES_MAX_{name.upper()}"
    return f"if the file is valid, raise {setting}, or {name} in the `limits` of its definition"


@dataclass(frozen=True)
class Budget:
    """Limits for one file; a file beyond one of them is rejected with `over_budget` or `timeout`."""

    header_bytes: int = 64 * 2**20
    """Maximum bytes of all tags together; also of the ranges that are fetched of an object."""
    ifds: int = 1_000
    """Maximum number of images, overviews and masks in one file."""
    tag_bytes: int = 16 * 2**20
    """Maximum bytes of the values of one tag, or of the metadata in one sidecar."""
    bands: int = 10_000
    pixels: int = 10**14
    """Maximum of width x height."""
    seconds: float = 20.0
    """Time limit for reading the header; while pixels are read, the longest time without progress."""
    statistics_pixels: int = 4 * 10**9
    """Maximum number of values, over all bands, that are read for statistics; reading this many takes minutes."""
    block_bytes: int = 256 * 2**20
    """Maximum size of one decompressed block, with all its bands, when pixels are read."""
