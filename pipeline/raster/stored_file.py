"""Opens a stored file in a folder, a bucket or on a web server."""

from contextlib import AbstractContextManager

from pipeline.raster.budget import Budget
from pipeline.raster.file_access import OpenFile, open_local_file, open_unnamed_file
from pipeline.raster.sparse_copy import open_object
from pipeline.storage import RangeReader, StoredFile


def open_stored_file(
    file: StoredFile, budget: Budget, ranges: RangeReader | None
) -> AbstractContextManager[OpenFile]:
    """Open a local file, an unnamed file or an object for reading its header."""
    if file.is_remote:
        return open_object(file, budget, ranges or RangeReader(budget.seconds))
    return open_unnamed_file(file) if file.is_unnamed else open_local_file(file)
