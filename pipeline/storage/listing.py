"""Lists what places hold: files of folders and objects of buckets, each once."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b

from pipeline.errors import RasterError, Rejection
from pipeline.storage.allowed_roots import AllowedRoots, Root
from pipeline.storage.files import StoredFile
from pipeline.storage.local import FolderLister, reject_unlisted
from pipeline.storage.locations import Location
from pipeline.storage.s3_listing import list_bucket_files


def list_files(
    places: Sequence[Location], roots: Sequence[Root], *, repeat: bool = False
) -> Iterator[StoredFile | Rejection]:
    """The raster files of `places`: files as named, folders and prefixes with all that is below them.

    Lazy; in the order of `places`, and by name within a folder. A file is known by its real path,
    which must lie in one of `roots`, and comes once, however many places or links lead to it;
    where `repeat`, once for each place that names it outright. What cannot be listed is a rejection
    of the folder itself: nothing is known of what is below it. Raises CatalogueError or
    TransientError where object storage does not list.
    """
    allowed = AllowedRoots(roots)
    folders = FolderLister(allowed)
    once = _Once()
    # Only then can more than one way lead to a file, which a walk does not see by itself.
    several = not repeat and (
        len(places) > 1 or any(place.pattern and not place.in_bucket for place in places)
    )
    for place in places:
        try:
            found = (
                list_bucket_files(place, allowed) if place.in_bucket else folders.files_at(place)
            )
            yield from filter(once, found) if several else found
        except (RasterError, OSError) as error:
            yield reject_unlisted(place.real_uri, error)


class _Once:
    """Whether a file comes for the first time; digests of names, as a million names are many bytes."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, item: StoredFile | Rejection) -> bool:
        digest = blake2b(item.uri.encode(), digest_size=16).digest()
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True
