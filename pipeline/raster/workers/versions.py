"""The versions of what decides on the outcome of a reading, by which machines that read together are compared."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pyproj
import rasterio


@cache
def package_versions() -> Mapping[str, str]:
    """Name -> version; of this package a digest of its modules, as they were at the first call."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for module in sorted(root.rglob("*.py")):
        digest.update(f"{module.relative_to(root)}\0".encode() + module.read_bytes())
    packages = ("numpy", "pyproj", "rasterio", "shapely")
    return {
        "rastersources": digest.hexdigest()[:12],
        **{name: version(name) for name in packages},
        "GDAL": rasterio.__gdal_version__,
        "PROJ": pyproj.proj_version_str,
    }
