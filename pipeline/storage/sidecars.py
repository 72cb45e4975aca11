"""Finds sidecars: the files beside a raster from which GDAL may read metadata."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

# The names that GDAL looks for beside x.tif, in any case: x.tif.ovr, x.tfw, x_RPC.TXT and so on.
# Source: GDAL's GTiff driver, gcore/gdalpamdataset.cpp and gcore/mdreader.
APPENDED = (".aux.xml", ".ovr", ".msk", ".msk.ovr", ".ovr.msk", ".aux")
_REPLACING = (".tfw", ".tifw", ".tiffw", ".wld", ".tab", ".xml", ".aux", ".rpb", ".imd")
AFTER_STEM = (*_REPLACING, "_rpc.txt", "_metadata.txt")
SIDECAR_SUFFIXES = (*APPENDED, *AFTER_STEM)
PIXEL_SIDECARS = (".ovr", ".msk", ".msk.ovr", ".ovr.msk")
"""Suffixes of sidecars that are TIFF files."""


class SidecarNames:
    """The names of the sidecars in one folder, by the file to which they belong."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            lower = name.lower()
            if lower.endswith(SIDECAR_SUFFIXES):
                for raster in _without_suffixes(lower, APPENDED):
                    self._by_name[raster].append(name)
                for stem in _without_suffixes(lower, AFTER_STEM):
                    self._by_stem[stem].append(name)

    def of(self, name: str) -> tuple[str, ...]:
        """Return the sidecars of the file with this name, sorted."""
        if not self._by_name and not self._by_stem:
            return ()
        lower = name.lower()
        sidecars = {*self._by_name.get(lower, ()), *self._by_stem.get(stem_of(lower), ())}
        return tuple(sorted(sidecars))


def stem_of(name: str) -> str:
    """Return a name without its last suffix."""
    return name.rpartition(".")[0] or name


def add_sidecars(own: str, parts: Sequence[tuple[str, int, int | str]]) -> str:
    """Add a digest of the sidecars (names, sizes, and times or ETags) to the fingerprint of a file."""
    if not parts:
        return own
    text = "".join(f"{name}\0{size}\0{version}\0" for name, size, version in parts)
    digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8)
    return f"{own}+{digest.hexdigest()}"


def shortest_stem(sidecar: str) -> str:
    """Return the shortest stem of the files to which a sidecar may belong."""
    rasters = _without_suffixes(sidecar, APPENDED)
    return min([*map(stem_of, rasters), *_without_suffixes(sidecar, AFTER_STEM)], key=len)


def _without_suffixes(name: str, suffixes: Sequence[str]) -> list[str]:
    """Return the names without each of the suffixes that the name has, in any case."""
    return [name[: -len(suffix)] for suffix in suffixes if name.lower().endswith(suffix)]
