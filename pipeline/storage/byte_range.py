"""Some bytes of a remote file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ByteRange:
    """Some bytes of an object in a bucket or of a file of a web server."""

    data: bytes
    size: int
    """Bytes of the whole file."""
    etag: str
    """As it stands in fingerprints."""

    @property
    def version(self) -> str:
        """Size and ETag, as in fingerprints."""
        return f"{self.size:x}.{self.etag}"
