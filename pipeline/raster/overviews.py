"""Finds the overviews of a file that GDAL can read without opening another file."""

from typing import NamedTuple

from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from pipeline.raster.file_access import OpenFile
from pipeline.raster.models import Layout
from pipeline.raster.open_dataset import names_overview_file, open_dataset


class Overview(NamedTuple):
    """An overview that GDAL can read without opening another file."""

    factor: int
    """Decimation factor."""
    level: int | None
    """Index among the overviews of the file or of the sidecar; None for the main image of the sidecar."""
    sidecar: str | None
    masked: bool


def usable_overviews(opened: OpenFile, layout: Layout) -> list[Overview]:
    """Return the overviews in the file, or else in its .ovr sidecar.

    The list is empty if the metadata name a file with overviews, because GDAL would open it. It is also empty if the
    mask is a sidecar, because its metadata may name such a file.
    """
    if not layout.overviews:
        return []
    with open_dataset(opened, placed=True) as (dataset, warned):
        if names_overview_file(dataset, warned) or layout.mask == "sidecar":
            return []
        masks, dtypes = masked_bands(dataset), dataset.dtypes
        factors = dataset.overviews(1)
    if factors:
        return [Overview(factor, level, None, any(masks)) for level, factor in enumerate(factors)]
    name = f"{opened.stored.name}.ovr".lower()
    sidecar = next((each for each in opened.stored.sidecars if each.lower() == name), None)
    if sidecar is None:
        return []
    with open_dataset(opened, placed=True, sidecar=sidecar) as (dataset, warned):
        alike = (masked_bands(dataset), dataset.dtypes) == (masks, dtypes)
        if names_overview_file(dataset, warned) or not alike:
            return []
        levels = [None, *range(len(dataset.overviews(1)))]
    if len(levels) != len(layout.overviews):
        return []
    pairs = zip(layout.overviews, levels, strict=True)
    return [Overview(factor, level, sidecar, any(masks)) for factor, level in pairs]


def masked_bands(dataset: DatasetReader) -> list[bool]:
    """Return for each band whether a mask or an alpha band marks its valid pixels."""
    return [MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums]
