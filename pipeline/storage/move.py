"""Moves files and objects without overwriting others; repeating a call completes an interrupted move."""

import asyncio
import errno
import filecmp
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

import obstore
from obstore.exceptions import BaseError

from pipeline.errors import CatalogueError, RasterError, TransientError
from pipeline.storage.files import S3, path_of, sync_folder
from pipeline.storage.local import own_fingerprint
from pipeline.storage.s3 import bucket_and_key, encode_etag, open_bucket, translate_obstore_error

_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS})
"""Error numbers of a file system that cannot create a hard link."""
_TRANSIENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ETIMEDOUT, errno.ESTALE})
_PIECE = 8 * 2**20
_LARGEST_COPY = 5 * 2**30
"""Maximum size of an object that S3 can copy; a larger object is streamed through this machine."""
Key = tuple[str, str]
"""Bucket and key of an object."""


def fingerprint_at(uri: str) -> str | None:
    """Return the fingerprint of the file at a URI, without sidecars; None if there is no file.

    Raises CatalogueError or TransientError if the storage does not answer.
    """
    with _translate_errors(uri, "cannot be read"):
        try:
            if uri.startswith(S3):
                return _version(_key(uri))
            return own_fingerprint(os.lstat(path_of(uri)))
        except FileNotFoundError:
            return None


def move_file(uri: str, target: str) -> bool:
    """Move a file or object to the URI `target`; return False if another file exists there.

    A file with the same content at the target counts as moved. All folders above the target but the last must exist.
    Raises CatalogueError or TransientError.
    """
    with _translate_errors(uri, f"cannot be moved to {target}"):
        if uri.startswith(S3):
            return _move_object(_key(uri), _key(target))
        return _move_local(Path(path_of(uri)), Path(path_of(target)))


@contextmanager
def _translate_errors(uri: str, what: str) -> Iterator[None]:
    try:
        yield
    except BaseError as error:
        problem = translate_obstore_error(error, uri)
        kind = CatalogueError if isinstance(problem, RasterError) else type(problem)
        raise kind(f"{uri} {what}: {str(problem).removeprefix(f'{uri}: ')}") from error
    except OSError as error:
        kind = TransientError if error.errno in _TRANSIENT else CatalogueError
        raise kind(
            f"{uri} {what}: {error.strerror or error}; check the folder and run it again"
        ) from error


# Files -----------------------------------------------------------------------------------------------------------


def _move_local(source: Path, target: Path) -> bool:
    with suppress(FileExistsError):
        target.parent.mkdir()
        sync_folder(target.parent.parent)
    if not _link(source, target, _copy_file):
        return False
    sync_folder(target.parent)
    source.unlink()
    return True


def _link(file: Path, name: Path, without_links: Callable[[Path, Path], bool]) -> bool:
    """Create a hard link to a file; return False if another file has that name."""
    try:
        os.link(file, name, follow_symlinks=False)  # unlike rename, it never overwrites
    except FileExistsError:
        return _same_files(file, name)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return without_links(file, name)
    return True


def _same_files(file: Path, other: Path) -> bool:
    """Return whether two names have the same inode or the same bytes; symlinks are not followed."""
    status, other_status = file.lstat(), other.lstat()
    if os.path.samestat(status, other_status):
        return True
    regular = stat.S_ISREG(status.st_mode) and stat.S_ISREG(other_status.st_mode)
    return regular and filecmp.cmp(file, other, shallow=False)


def _copy_file(source: Path, target: Path) -> bool:
    """Copy a file with its times, and rename the copy when it is complete; return False if another file exists there.

    Also return False, without a copy, if the file changed in the meantime (it may still be written) or became a link.
    """
    digest = blake2b(os.fsencode(source), digest_size=8).hexdigest()
    part = target.parent / f".{digest}.part"  # the same name each time, so that a retry replaces it
    before = own_fingerprint(source.lstat())
    try:
        shutil.copy2(source, part, follow_symlinks=False)
        if part.is_symlink():
            return False
        with part.open("rb") as written:
            os.fsync(written.fileno())
        return own_fingerprint(source.lstat()) == before and _link(part, target, _rename)
    finally:
        part.unlink(missing_ok=True)


def _rename(part: Path, target: Path) -> bool:
    """Rename a copy to its target; a file that appears between the check and the renaming is overwritten."""
    if target.exists():
        return _same_files(part, target)
    part.rename(target)
    return True


# Objects ---------------------------------------------------------------------------------------------------------


def _key(uri: str) -> Key:
    return bucket_and_key(S3 + path_of(uri)[1:])


def _version(key: Key) -> str:
    """Return the size and ETag of an object, as in fingerprints. Raises FileNotFoundError."""
    meta = obstore.head(open_bucket(key[0]), key[1])
    return f"{meta['size']:x}.{encode_etag(meta)}"


def _delete(key: Key) -> None:
    obstore.delete(open_bucket(key[0]), key[1])


def _move_object(source: Key, target: Key) -> bool:
    before = _version(source)
    try:
        existing = _version(target)
    except FileNotFoundError:
        _copy_object(source, target)
        if _version(source) != before:
            _delete(target)  # it may be a mix of two versions
            return False
    else:
        if existing != before and not _same_objects(source, target):
            return False
    _delete(source)
    return True


def _copy_object(source: Key, target: Key) -> None:
    store = open_bucket(source[0])
    if source[0] == target[0] and obstore.head(store, source[1])["size"] <= _LARGEST_COPY:
        obstore.copy(store, source[1], target[1])
    else:
        asyncio.run(_stream_object(source, target))


async def _stream_object(source: Key, target: Key) -> None:
    result = await obstore.get_async(open_bucket(source[0]), source[1])
    await obstore.put_async(open_bucket(target[0]), target[1], result.stream(_PIECE))


def _same_objects(source: Key, target: Key) -> bool:
    """Return whether two objects have the same bytes; their ETags may differ if they were sent in different parts."""
    same_size = _version(source).partition(".")[0] == _version(target).partition(".")[0]
    return same_size and _digest(source) == _digest(target)


def _digest(key: Key) -> bytes:
    digest = blake2b()
    for piece in obstore.get(open_bucket(key[0]), key[1]).stream(_PIECE):
        digest.update(piece)
    return digest.digest()
