"""The states of an upload: the one place that says which there are and what they mean."""

from enum import StrEnum


class UploadState(StrEnum):
    """The column `state` of `uploads`."""

    REQUESTED = "requested"
    """Its file has not arrived."""
    RECEIVED = "received"
    """Its file is stored and waits for a worker."""
    PROCESSING = "processing"
    """A worker has claimed it, and may have died since."""
    COMMITTED = "committed"
    """Its file belongs to the source."""
    REJECTED = "rejected"
    """Its file does not become part of the source."""
    RETRY = "retry"
    """A worker will read it again after a pause."""


WAITING_STATES = [UploadState.RECEIVED, UploadState.PROCESSING, UploadState.RETRY]
"""A worker may claim the upload. The partial index `uploads_open` holds these."""
OPEN_STATES = [UploadState.REQUESTED, *WAITING_STATES]
"""The upload is not settled: its file and its bytes are still needed."""
