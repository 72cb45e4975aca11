"""Keeps recently read files open, with everything that reading their pixels needs."""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from affine import Affine

from pipeline.errors import FileChanged
from pipeline.raster.budget import Budget
from pipeline.raster.file_access import OpenFile
from pipeline.raster.header import Header, read_header
from pipeline.raster.integrity import block_index_tags
from pipeline.raster.nodata import nodata_number
from pipeline.raster.open_dataset import open_dataset
from pipeline.raster.overviews import usable_overviews
from pipeline.raster.pixels.requests import PixelFile
from pipeline.raster.pixels.values import Pixels
from pipeline.raster.sparse_copy import OpenObject, SparseCopy
from pipeline.raster.stored_file import open_stored_file
from pipeline.raster.tiff import Directory, read_directories
from pipeline.storage import find_registered_file

_MOST_OPEN = 48
_MAX_COPY_BYTES = 256 * 2**20
"""A sparse copy with more bytes is removed after the request."""
_MAX_DECIMATED_BYTES = 64 * 2**20
"""Maximum total size of the cached decimated copies."""


@dataclass(frozen=True)
class Image:
    """The full-resolution raster, or an overview."""

    directory: Directory
    mask: Directory | None
    """The IFD of its internal mask."""
    level: int | None = None
    """Index of the overview, as in `Overview`."""
    sidecar: str | None = None
    factor: int = 1
    """Decimation factor; 1 for the full-resolution raster."""


class OpenRaster:
    """A file that is open for reading its pixels."""

    def __init__(self, file: PixelFile, budget: Budget, stack: ExitStack) -> None:
        """Raises a RasterError, TransientError or CatalogueError."""
        self.file = file
        stored = find_registered_file(file.uri, file.fingerprint, file.roots)
        self.opened = stack.enter_context(open_stored_file(stored, budget, None))
        header = read_header(self.opened, budget)
        seen_mask = header.layout.mask == "sidecar"
        self.opened.prepare_for_gdal(header.directories, budget, mask=seen_mask)
        if (header.main.width, header.main.height) != (file.width, file.height):
            raise FileChanged.since_registered()
        self.nodata = [nodata_number(file.nodata[band - 1], file.dtype) for band in file.bands]
        self.mask = header.layout.mask
        """`internal`, `alpha`, `sidecar` or None."""
        self.images = [*_images(self.opened, header, budget)]
        """The full-resolution raster, then its overviews; the smallest is last."""
        self.decimated: Pixels | None = None
        """A decimated copy, made when a picture needs it."""

    def image_for(self, pixels: float) -> Image:
        """Return the smallest image that has at least one pixel for each pixel of a window, as gdalwarp does.

        `pixels` is the distance of two neighbours in the window, in pixels of the file.
        """
        return [image for image in self.images if image.factor <= max(1.0, pixels + 0.1)][-1]

    def transform_of(self, image: Image) -> Affine:
        """Return the affine transform from the pixels of an image to the CRS."""
        return self.transform_to(image.directory.width, image.directory.height)

    def transform_to(self, width: int, height: int) -> Affine:
        """Return the affine transform to the CRS if the whole file had this many columns and rows."""
        transform = Affine(*self.file.transform)
        if (width, height) == (self.file.width, self.file.height):
            return transform
        return transform @ Affine.scale(self.file.width / width, self.file.height / height)

    def copies(self) -> list[SparseCopy]:
        """Return the sparse copies with its blocks; none for a local file."""
        if not isinstance(self.opened, OpenObject):
            return []
        names = {image.sidecar for image in self.images if image.sidecar}
        return [self.opened.copy, *map(self.opened.sidecar, names)]


class OpenFiles:
    """The recently read files. Before each reading, a file is compared with its fingerprint."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._open: OrderedDict[tuple[str, str], tuple[OpenRaster, ExitStack]] = OrderedDict()

    def open(self, file: PixelFile) -> OpenRaster:
        """Return the open file. Raises FileChanged if it changed since it was registered, or the errors of opening."""
        key = file.uri, file.fingerprint
        if key in self._open and self._open[key][0].file == file:
            raster, _ = self._open[key]
            self._open.move_to_end(key)
            try:
                _require_unchanged(raster.opened)
            except BaseException:
                self._close(key)
                raise
            return raster
        if key in self._open:
            self._close(key)
        while len(self._open) >= _MOST_OPEN:
            self._close(next(iter(self._open)))
        with ExitStack() as stack:
            raster = OpenRaster(file, self._budget, stack)
            self._open[key] = raster, stack.pop_all()
        return raster

    def trim(self) -> None:
        """Close objects with large sparse copies, and delete decimated copies that were not used recently."""
        for key, (raster, _) in list(self._open.items()):
            if sum(copy.bytes_held for copy in raster.copies()) > _MAX_COPY_BYTES:
                self._close(key)
        room = _MAX_DECIMATED_BYTES
        for raster, _ in reversed(self._open.values()):
            room -= raster.decimated.nbytes if raster.decimated else 0
            if room < 0:
                raster.decimated = None

    def _close(self, key: tuple[str, str]) -> None:
        _, stack = self._open.pop(key)
        stack.close()


def _require_unchanged(opened: OpenFile) -> None:
    """Compare a local file with its fingerprint; ranges of an object are compared when they are fetched."""
    if not opened.stored.is_remote:
        opened.require_unchanged()


def _images(opened: OpenFile, header: Header, budget: Budget) -> list[Image]:
    images = [Image(header.main, _mask_of(header.main, header.directories))]
    for overview in usable_overviews(opened, header.layout):
        directories = header.directories
        if overview.sidecar:
            directories = read_directories(opened.sidecar(overview.sidecar), budget)
        with open_dataset(
            opened, placed=True, overview=overview.level, sidecar=overview.sidecar
        ) as (dataset, _):
            size = dataset.width, dataset.height
        own = next((d for d in directories if not d.mask and (d.width, d.height) == size), None)
        if own is None:
            continue
        for tag in block_index_tags(own) if overview.sidecar else ():  # for the copy of an object
            own.array(tag, 0, own.block_count)
        mask = _mask_of(own, directories)
        images.append(Image(own, mask, overview.level, overview.sidecar, overview.factor))
    return sorted(images, key=lambda image: image.factor)


def _mask_of(image: Directory, directories: Sequence[Directory]) -> Directory | None:
    size = image.width, image.height
    return next((d for d in directories if d.mask and (d.width, d.height) == size), None)
