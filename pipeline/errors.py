"""Every error that callers can act on.

RastersourcesError
├── RasterError        fix the file: has a stable reason code
├── CatalogueError     fix the request, the definition or the set-up
└── TransientError     try again: the database or the storage is away
"""

from dataclasses import dataclass


class RastersourcesError(Exception):
    """An error with one sentence that says what to do."""


class CatalogueError(RastersourcesError):
    """The request, the definition or the set-up must change before this can work."""


class TransientError(RastersourcesError):
    """The same call may work later: the database or the storage did not answer."""


class DiskFull(TransientError):
    """The disk of the uploads has no room left."""


class RunInProgress(TransientError):
    """Another run of the same definition is at work."""


class RasterError(RastersourcesError):
    """A file that is not registered, and why; `code` is stable, docs/reason-codes.md lists it."""

    code: str = "unreadable"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The sentence that a person reads."""
        return str(self)


class MissingCRS(RasterError):
    """The file names no coordinate reference system."""

    code = "missing_crs"


class UnsupportedCRS(RasterError):
    """The file's coordinate reference system is not tied to the earth, or cannot be understood."""

    code = "unsupported_crs"


class NoGrid(RasterError):
    """Nothing in the file says where its pixels lie."""

    code = "no_grid"


class ResidualTooLarge(RasterError):
    """No straight grid fits the file's ground control points."""

    code = "gcp_residual"


class OutsideCRSDomain(RasterError):
    """The raster lies where its coordinate reference system has no meaning."""

    code = "outside_crs_domain"


class NotFound(RasterError):
    """There is no file of this name, or it went away before it was read."""

    code = "not_found"


class PermissionDenied(RasterError):
    """This user may not read the file or list the folder."""

    code = "permission_denied"


class NotAFile(RasterError):
    """The name is that of a folder, pipe, socket or device."""

    code = "not_a_file"


class NotAllowed(RasterError):
    """The file lies outside the folders that may be read."""

    code = "not_allowed"


class EmptyFile(RasterError):
    """The file has no bytes."""

    code = "empty_file"


class NotAGeoTIFF(RasterError):
    """The bytes are not those of a TIFF file."""

    code = "not_a_geotiff"


class Unreadable(RasterError):
    """The file's header contradicts itself, or reading it failed."""

    code = "unreadable"


class Truncated(RasterError):
    """The header speaks of bytes that the file does not have."""

    code = "truncated"


class OverBudget(RasterError):
    """Reading the header would cost more than the budget allows."""

    code = "over_budget"


class TimedOut(RasterError):
    """Reading took longer than the budget allows."""

    code = "timeout"


class FileChanged(RasterError):
    """The file is not the one that was listed, or changed while it was read."""

    code = "changing"


class MultipleImages(RasterError):
    """The file holds several rasters."""

    code = "multiple_images"


class UnsupportedDtype(RasterError):
    """The pixels are numbers that numpy has no type for."""

    code = "unsupported_dtype"


class MissingTime(RasterError):
    """The source is declared temporal and nothing says the time of the file."""

    code = "missing_time"


class Unmatched(RasterError):
    """No raster source is meant for the file."""

    code = "unmatched"


class WrongSupplier(RasterError):
    """The raster source that the file is meant for belongs to another supplier."""

    code = "not_the_supplier"


UNSEEN_CODES = frozenset({"not_found", "permission_denied", "not_allowed", "timeout", "changing"})
"""Codes of files that could not be looked at: what is known of them stays, while every other refusal
means that the file is no longer what the catalogue says."""


@dataclass(frozen=True)
class Rejection:
    """A refused file as a fact that can be stored, where an exception would stop the others."""

    uri: str
    code: str
    """Stable; listed in docs/reason-codes.md."""
    message: str
    fingerprint: str | None = None
    """None where the file could not even be looked at."""
    size: int | None = None
    """Bytes; None where the file could not even be looked at."""

    @property
    def seen(self) -> bool:
        """Whether the file was looked at, and so is no longer what the catalogue says."""
        looked_at = self.fingerprint is not None or self.code == NotAFile.code
        return looked_at and self.code not in UNSEEN_CODES
