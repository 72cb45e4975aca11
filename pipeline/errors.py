"""The errors that callers can act on.

RastersourcesError
├── RasterError        correct the file; has a stable reason code
├── CatalogueError     correct the request, the definition or the set-up
└── TransientError     try again: the database or the storage does not answer
"""

from dataclasses import dataclass
from typing import Self


class RastersourcesError(Exception):
    """An error with a message that says what to do."""


class CatalogueError(RastersourcesError):
    """Correct the request, the definition, a setting or the set-up."""


class TransientError(RastersourcesError):
    """Try the same call again later: the database or the storage did not answer."""


class DiskFull(TransientError):
    """Free space on the disk of the uploads."""


class RunInProgress(TransientError):
    """Wait for the other run of the same definition."""


class RasterError(RastersourcesError):
    """Correct the file; it is not registered. docs/reason-codes.md lists the stable codes."""

    code = "unreadable"

    def __init_subclass__(cls, code: str) -> None:
        cls.code = code

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The message for people."""
        return str(self)


class MissingCRS(RasterError, code="missing_crs"):
    """Assign a CRS to the file, because it has no CRS."""


class UnsupportedCRS(RasterError, code="unsupported_crs"):
    """Give the file another CRS: the present one is not on the earth, or is not supported."""


class NoGrid(RasterError, code="no_grid"):
    """Give the file a geotransform or more control points: its pixels have no place."""


class ResidualTooLarge(RasterError, code="gcp_residual"):
    """Warp the file: no affine grid fits its control points."""


class OutsideCRSDomain(RasterError, code="outside_crs_domain"):
    """Check the CRS and the coordinates: the raster lies where the CRS is not valid."""


class NotFound(RasterError, code="not_found"):
    """Check the name: the file does not exist, or was deleted."""


class PermissionDenied(RasterError, code="permission_denied"):
    """Allow this user to read the file or list the folder."""


class NotAFile(RasterError, code="not_a_file"):
    """Give a file instead of a folder, pipe, socket or device."""


class NotAllowed(RasterError, code="not_allowed"):
    """Allow the folder of the file, or move the file."""


class EmptyFile(RasterError, code="empty_file"):
    """Copy the file again: it has no bytes."""


class NotAGeoTIFF(RasterError, code="not_a_geotiff"):
    """Convert the file: it is not a TIFF file."""


class Unreadable(RasterError, code="unreadable"):
    """Write the file again: its header contradicts itself, or reading it failed."""


class Truncated(RasterError, code="truncated"):
    """Copy the file again: its header points to bytes beyond its end."""


class Unreachable(RasterError, code="unreachable"):
    """Try again later: the web server of the file does not answer, or refuses the request."""


class UnsuitableServer(RasterError, code="unsuitable_server"):
    """Copy the file elsewhere: its web server does not support byte ranges, or sends neither ETag nor Last-Modified."""


class NotSTAC(RasterError, code="not_stac"):
    """Correct the STAC catalogue: a document or an address in it cannot be used."""


class OverBudget(RasterError, code="over_budget"):
    """Raise the limit if the file is valid: reading its header exceeds a limit."""


class TimedOut(RasterError, code="timeout"):
    """Check the disk or raise the time limit: reading the file took too long."""


class FileChanged(RasterError, code="changing"):
    """List and read the file again: it changed since it was listed."""

    @classmethod
    def since_listed(cls, what: str) -> Self:
        """Return the error for a file, an object or a sidecar."""
        return cls(f"{what} changed since it was listed; list and read it again")

    @classmethod
    def since_registered(cls) -> Self:
        """Return the error for a file of the catalogue."""
        return cls("the file changed since it was registered; sync it, then try again")


class MultipleImages(RasterError, code="multiple_images"):
    """Split the file: it contains several rasters."""


class UnsupportedDtype(RasterError, code="unsupported_dtype"):
    """Convert the pixels: numpy has no type for them."""


class MissingTime(RasterError, code="missing_time"):
    """Give the file a time: its source is temporal, and the file has no time."""


class Unmatched(RasterError, code="unmatched"):
    """Correct the pattern or the name: the file does not belong to a raster source."""


class WrongSupplier(RasterError, code="not_the_supplier"):
    """Ask the supplier of the raster source: it is another user."""


UNSEEN_CODES = frozenset(
    {
        "not_found", "permission_denied", "not_allowed", "timeout", "changing", "unreachable", "unsuitable_server",
    }
)  # fmt: skip
"""Codes of files with unknown content; the catalogue keeps their records. Any other rejection removes the record."""


@dataclass(frozen=True)
class Rejection:
    """A file that is not registered, with the reason. Unlike an exception it does not stop the other files."""

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
        """Whether the content of the file is known, so that the record of its former content must be removed."""
        listed = self.fingerprint is not None or self.code == NotAFile.code
        return listed and self.code not in UNSEEN_CODES
