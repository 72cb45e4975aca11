"""Defines the states of an upload."""

from enum import StrEnum


class UploadState(StrEnum):
    """The values of the column `state` of `uploads`."""

    REQUESTED = "requested"
    """The file has not arrived."""
    RECEIVED = "received"
    """The file is stored and waits for a worker."""
    PROCESSING = "processing"
    """A worker has claimed the upload, and may have died since."""
    COMMITTED = "committed"
    """The file belongs to the source."""
    REJECTED = "rejected"
    """The file will not become part of the source."""
    RETRY = "retry"
    """A worker will read the file again after a pause."""


WAITING_STATES = [UploadState.RECEIVED, UploadState.PROCESSING, UploadState.RETRY]
"""A worker may claim uploads in these states; the partial index `uploads_open` contains them."""
OPEN_STATES = [UploadState.REQUESTED, *WAITING_STATES]
"""Uploads in these states are not finished: their files and bytes are still needed."""
