"""Describes how pixels are stored: blocks, compression, overviews, masks, and whether the file is a COG."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pipeline.raster import tiff
from pipeline.raster.models import Layout

# The values of TIFF 6.0, and those registered since that libtiff knows, with GDAL's names.
_COMPRESSIONS = {
    2: "CCITTRLE", 3: "CCITTFAX3", 4: "CCITTFAX4", 5: "LZW", 6: "OJPEG", 7: "JPEG",
    8: "DEFLATE", 32773: "PACKBITS", 32946: "DEFLATE", 34676: "SGILOG", 34677: "SGILOG24",
    34887: "LERC", 34925: "LZMA", 50000: "ZSTD", 50001: "WEBP", 50002: "JXL",
}  # fmt: skip

_UNTILED_UP_TO = 512
"""Maximum side of a COG without tiles in pixels (GDAL's validate_cloud_optimized_geotiff.py)."""

_GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE="
"""The beginning of the ghost area ("Cloud Optimized GeoTIFF" in the documentation of GDAL's drivers)."""
_GHOST_HEADER_BYTES = len(_GHOST) + len(b"000140 bytes\n")
_MAX_GHOST_BYTES = 1000

_ALPHA = {1, 2}
"""Values of ExtraSamples: associated and unassociated alpha (TIFF 6.0)."""


def describe_layout(
    directories: Sequence[tiff.Directory], external: Sequence[tiff.Directory], sidecar_mask: bool
) -> Layout:
    """Describe the first image; `external` are the images in its .ovr sidecar."""
    main = directories[0]
    inside = _without_masks(directories[1:])
    reasons = tuple(_not_cog_because(main, inside, external))
    width, height = main.block_size
    code = main.integer(tiff.COMPRESSION, 1)
    return Layout(
        compression=None if code == 1 else _COMPRESSIONS.get(code, str(code)),
        block_width=width,
        block_height=height,
        # rasterio computes the decimation factor in the same way.
        overviews=tuple(
            round(main.width / max(overview.width, 1))
            for overview in inside or _without_masks(external)
        ),
        cog=not reasons,
        not_cog_because=reasons,
        mask=_mask(directories, sidecar_mask),
    )


def _without_masks(directories: Sequence[tiff.Directory]) -> list[tiff.Directory]:
    return [directory for directory in directories if not directory.mask]


def _mask(directories: Sequence[tiff.Directory], sidecar_mask: bool) -> str | None:
    main = directories[0]
    if any(d.mask and (d.width, d.height) == (main.width, main.height) for d in directories[1:]):
        return "internal"
    if sidecar_mask:
        return "sidecar"
    return "alpha" if _ALPHA & set(main.integers(tiff.EXTRA_SAMPLES)) else None


def _not_cog_because(
    main: tiff.Directory, overviews: Sequence[tiff.Directory], external: Sequence[tiff.Directory]
) -> Iterator[str]:
    """Yield the reasons why GDAL's COG validator would reject the file."""
    if external:
        yield "its overviews are in another file"
    # in a COG, the first directory follows the file header and GDAL's ghost area, at an even offset
    before = main.reader.header_size + _ghost_size(main.reader)
    if main.offset != before + before % 2:
        yield "its header is not at the start of the file"
    levels = (main, *overviews)
    if any(not d.tiled and max(d.width, d.height) > _UNTILED_UP_TO for d in levels):
        yield "its pixels are stored in strips, not in tiles"
    if any(after.width > before.width for before, after in pairwise(levels)):
        yield "its overviews are not ordered by size"
    if any(after.offset < before.offset for before, after in pairwise(levels)):
        yield "the headers of its overviews are not in order"
    starts = [start for d in levels if (start := _first_block_offset(d))]
    if any(before < after for before, after in pairwise(starts)):
        yield "the pixels of its overviews do not come before its own"
    if starts and starts[-1] < levels[-1].offset:
        yield "its pixels come before its headers"


def ghost_area(reader: tiff.HeaderReader) -> bytes | None:
    """Return the ghost area, in which GDAL describes the layout of a COG; None if it is implausibly long."""
    size = _ghost_size(reader)
    start = reader.header_size
    return reader.read(start, min(size, reader.size - start)) if size <= _MAX_GHOST_BYTES else None


def _ghost_size(reader: tiff.HeaderReader) -> int:
    start = reader.header_size
    head = reader.read(start, min(_GHOST_HEADER_BYTES, reader.size - start))
    if not head.startswith(_GHOST) or not (digits := head[len(_GHOST) :][:6]).isdigit():
        return 0
    return _GHOST_HEADER_BYTES + int(digits)


def _first_block_offset(directory: tiff.Directory) -> int:
    """Return the offset of the first block; 0 for a hole."""
    tag = tiff.TILE_OFFSETS if tiff.TILE_OFFSETS in directory else tiff.STRIP_OFFSETS
    return directory.integer(tag, 0)
