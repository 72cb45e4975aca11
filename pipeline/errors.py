"""Every error that callers can act on.

RastersourcesError
├── RasterError        fix the file: has a stable reason code
├── CatalogueError     fix the request, the definition or the set-up
└── TransientError     try again: the database or the storage is away
"""


class RastersourcesError(Exception):
    """An error with one sentence that says what to do."""


class CatalogueError(RastersourcesError):
    """The request, the definition or the set-up must change before this can work."""


class TransientError(RastersourcesError):
    """The same call may work later: the database or the storage did not answer."""


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
