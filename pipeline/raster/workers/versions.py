"""The versions of packages on which the outcome of reading depends; machines that read together compare them."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pyproj
import rasterio

import pipeline


@cache
def package_versions() -> Mapping[str, str]:
    """Return name -> version; for this package it is a digest of its modules at the first call."""
    digest = hashlib.sha256()
    root = Path(pipeline.__file__).parent
    for module in sorted(root.rglob("*.py")):
        digest.update(f"{module.relative_to(root)}\0".encode() + module.read_bytes())
    packages = ("numpy", "pyproj", "rasterio", "shapely")
    return {
        "rastersources": digest.hexdigest()[:12],
        **{name: version(name) for name in packages},
        "GDAL": rasterio.__gdal_version__,
        "PROJ": pyproj.proj_version_str,
    }
