"""A range of bytes of a remote file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ByteRange:
    """A range of bytes of an object in a bucket or of a file on a web server."""

    data: bytes
    size: int
    """Size of the whole file in bytes."""
    etag: str
    """The ETag in the form of fingerprints."""

    @property
    def version(self) -> str:
        """Size and ETag in the form of fingerprints."""
        return f"{self.size:x}.{self.etag}"
