"""All errors that callers can act on.

RastersourcesError
├── RasterError        correct the file; has a stable reason code
├── CatalogueError     correct the request, the definition or the set-up
└── TransientError     try again: the database or the storage does not answer
"""

from dataclasses import dataclass


class RastersourcesError(Exception):
    """An error whose text is a sentence that says what to do."""


class CatalogueError(RastersourcesError):
    """Correct the request, the definition, a setting or the set-up."""


class TransientError(RastersourcesError):
    """Try the same call again later: the database or the storage did not answer."""


class DiskFull(TransientError):
    """Free space on the disk of the uploads."""


class RunInProgress(TransientError):
    """Wait for the other run of the same definition."""


class RasterError(RastersourcesError):
    """Correct the file, which is not registered. docs/reason-codes.md lists the stable codes."""

    code: str = "unreadable"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self)


class MissingCRS(RasterError):
    """Assign a CRS to the file, which has none."""

    code = "missing_crs"


class UnsupportedCRS(RasterError):
    """Give the file another CRS: this one is not tied to the earth, or is not understood."""

    code = "unsupported_crs"


class NoGrid(RasterError):
    """Give the file a geotransform or more control points: its pixels have no place."""

    code = "no_grid"


class ResidualTooLarge(RasterError):
    """Warp the file: no straight grid fits its control points."""

    code = "gcp_residual"


class OutsideCRSDomain(RasterError):
    """Check the CRS and the coordinates: the raster lies where the CRS is not valid."""

    code = "outside_crs_domain"


class NotFound(RasterError):
    """Check the name or list again: the file does not exist, or not any more."""

    code = "not_found"


class PermissionDenied(RasterError):
    """Let this user read the file or list the folder."""

    code = "permission_denied"


class NotAFile(RasterError):
    """Name a file instead of a folder, pipe, socket or device."""

    code = "not_a_file"


class NotAllowed(RasterError):
    """Allow the folder of the file, or move the file."""

    code = "not_allowed"


class EmptyFile(RasterError):
    """Copy the file again: it has no bytes."""

    code = "empty_file"


class NotAGeoTIFF(RasterError):
    """Convert the file: it is not a TIFF file."""

    code = "not_a_geotiff"


class Unreadable(RasterError):
    """Write the file again: its header contradicts itself, or reading it failed."""

    code = "unreadable"


class Truncated(RasterError):
    """Copy the file again: its header names bytes beyond its end."""

    code = "truncated"


class OverBudget(RasterError):
    """Raise the budget if the file is right: reading its header costs more."""

    code = "over_budget"


class TimedOut(RasterError):
    """Check the disk or raise the time limit: reading the file took longer."""

    code = "timeout"


class FileChanged(RasterError):
    """List and read the file again: it changed since it was listed."""

    code = "changing"


class MultipleImages(RasterError):
    """Split the file: it holds several rasters."""

    code = "multiple_images"


class UnsupportedDtype(RasterError):
    """Convert the pixels: numpy has no type for them."""

    code = "unsupported_dtype"


class MissingTime(RasterError):
    """Say how the files are dated: the source is temporal, and this file has no time."""

    code = "missing_time"


class Unmatched(RasterError):
    """Correct the pattern or the name: the file belongs to no raster source."""

    code = "unmatched"


class WrongSupplier(RasterError):
    """Ask the supplier: the raster source of the file belongs to another one."""

    code = "not_the_supplier"


UNSEEN_CODES = frozenset({"not_found", "permission_denied", "not_allowed", "timeout", "changing"})
"""Codes of files whose content is unknown: the catalogue keeps what it has. Any other rejection removes it."""


@dataclass(frozen=True)
class Rejection:
    """A file that is not registered, and why. Unlike an exception it does not stop the other files."""

    uri: str
    code: str
    """A stable code of docs/reason-codes.md."""
    message: str
    fingerprint: str | None = None
    """None if the file could not be listed."""
    size: int | None = None
    """Bytes; None if the file could not be listed."""

    @property
    def seen(self) -> bool:
        """Whether the content of the file is known, so that the catalogue must not keep the former one."""
        listed = self.fingerprint is not None or self.code == NotAFile.code
        return listed and self.code not in UNSEEN_CODES
