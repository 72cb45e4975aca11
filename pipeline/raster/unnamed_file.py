"""A file without a name, held open by another process: read through a descriptor, gone with that process."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipeline.errors import TransientError
from pipeline.raster.file_access import OpenLocalFile
from pipeline.storage import StoredFile


class OpenUnnamedFile(OpenLocalFile):
    """Nothing lies beside it, and nobody else can write it."""

    def require_unchanged(self) -> None:
        """Only the process that holds it could change it."""


@contextmanager
def open_unnamed_file(file: StoredFile) -> Iterator[OpenUnnamedFile]:
    """The file behind a descriptor of another process of this user; raises TransientError where that has ended."""
    try:
        descriptor = os.open(file.real_path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TransientError(
            f"what was sent cannot be read ({error.strerror}); send it again"
        ) from error
    with ExitStack() as held:
        held.callback(os.close, descriptor)
        yield OpenUnnamedFile(file, descriptor, held)
