"""Moves files to where nothing is: never over another file, and completed by the same call when it was cut short."""

import asyncio
import errno
import filecmp
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from pipeline.errors import CatalogueError, RasterError, TransientError
from pipeline.storage.files import path_of
from pipeline.storage.local import own_fingerprint
from pipeline.storage.s3 import S3, bucket_and_key, open_bucket, translate_obstore_error

_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS})
"""What a file system says that cannot give this file a second name there."""
_MAY_PASS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ETIMEDOUT, errno.ESTALE})
_PIECE = 8 * 2**20
_LARGEST_COPY = 5 * 2**30
"""What S3 copies within a bucket by itself; a larger object passes through this machine."""


def fingerprint_at(uri: str) -> str | None:
    """The own part of the fingerprint of what is at a URI now; None where nothing is.

    Raises CatalogueError or TransientError where the storage does not say.
    """
    with _translate_errors(uri, "cannot be looked at"):
        if uri.startswith(S3):
            return _version(*_bucket_and_key(uri))
        try:
            return own_fingerprint(os.lstat(path_of(uri)))
        except FileNotFoundError:
            return None


def move_file(uri: str, target: str) -> bool:
    """Move a file; False where another file is at the target. The same content there means that it was moved.

    Both are URIs of files of this machine, or of objects; folders above the target are there but
    for the last. Raises CatalogueError or TransientError.
    """
    with _translate_errors(uri, f"cannot be moved to {target}"):
        if uri.startswith(S3):
            return _move_object(_bucket_and_key(uri), _bucket_and_key(target))
        return _move_local(Path(path_of(uri)), Path(path_of(target)))


@contextmanager
def _translate_errors(uri: str, what: str) -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseError as error:
        problem = translate_obstore_error(error, uri)
        kind = CatalogueError if isinstance(problem, RasterError) else type(problem)
        raise kind(f"{uri} {what}: {str(problem).removeprefix(f'{uri}: ')}") from error
    except OSError as error:
        sentence = f"{uri} {what}: {error.strerror or error}; see to the folder and run it again"
        if error.errno in _MAY_PASS:
            raise TransientError(sentence) from error
        raise CatalogueError(sentence) from error


# Files -----------------------------------------------------------------------------------------------------------


def _move_local(source: Path, target: Path) -> bool:
    with suppress(FileExistsError):
        target.parent.mkdir()
        _sync(target.parent.parent)
    try:
        os.link(source, target, follow_symlinks=False)  # unlike a renaming it spares what is there
    except FileExistsError:
        if not _same_files(source, target):
            return False
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        if not _copy_file(source, target):
            return False
    _sync(target.parent)
    source.unlink()
    return True


def _same_files(one: Path, other: Path) -> bool:
    """Whether two names are of one file, or of two with the same bytes; what a link leads to does not count."""
    here, there = one.lstat(), other.lstat()
    if os.path.samestat(here, there):
        return True
    regular = stat.S_ISREG(here.st_mode) and stat.S_ISREG(there.st_mode)
    return regular and filecmp.cmp(one, other, shallow=False)


def _copy_file(source: Path, target: Path) -> bool:
    """A copy with the same times, complete before it bears its name; False where another file is there.

    Also False, without a copy, where the file changed meanwhile, since whoever writes it may not be done, or where it
    became a link.
    """
    digest = blake2b(os.fsencode(source), digest_size=8).hexdigest()
    part = (
        target.parent / f".{digest}.part"
    )  # of the same name the next time, so that it is no litter
    before = own_fingerprint(source.lstat())
    try:
        shutil.copy2(source, part, follow_symlinks=False)
        if part.is_symlink():
            return False
        with part.open("rb") as written:
            os.fsync(written.fileno())
        return own_fingerprint(source.lstat()) == before and _name(part, target)
    finally:
        part.unlink(missing_ok=True)


def _name(part: Path, target: Path) -> bool:
    """Give the copy its name."""
    try:
        os.link(part, target)
    except FileExistsError:
        return _same_files(part, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        # A file system without second names; here alone another file may slip in unseen.
        if target.exists():
            return _same_files(part, target)
        part.rename(target)
    return True


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Objects ---------------------------------------------------------------------------------------------------------


def _bucket_and_key(uri: str) -> tuple[str, str]:
    return bucket_and_key(S3 + os.fsdecode(unquote_to_bytes(uri.removeprefix(S3))))


def _version(bucket: str, key: str) -> str | None:
    """Size and ETag of an object, as in fingerprints; None where there is none."""
    import obstore

    try:
        meta = obstore.head(open_bucket(bucket), key)
    except FileNotFoundError:
        return None
    return f"{meta['size']:x}.{quote((meta['e_tag'] or '').strip(chr(34)), safe='')}"


def _move_object(source: tuple[str, str], target: tuple[str, str]) -> bool:
    import obstore

    before, there = _version(*source), _version(*target)
    if there is None:
        _copy_object(source, target)
        if _version(*source) != before:
            obstore.delete(open_bucket(target[0]), target[1])  # one or the other of two objects
            return False
    elif there != before and not _same_objects(source, target):
        return False
    obstore.delete(open_bucket(source[0]), source[1])
    return True


def _copy_object(source: tuple[str, str], target: tuple[str, str]) -> None:
    import obstore

    store, key = open_bucket(source[0]), source[1]
    size = obstore.head(store, key)["size"]
    if source[0] == target[0] and size <= _LARGEST_COPY:
        obstore.copy(store, key, target[1])
    else:
        asyncio.run(_stream_object(source, target))


async def _stream_object(source: tuple[str, str], target: tuple[str, str]) -> None:
    import obstore

    found = await obstore.get_async(open_bucket(source[0]), source[1])
    await obstore.put_async(open_bucket(target[0]), target[1], found.stream(_PIECE))


def _same_objects(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two objects hold the same bytes, whose ETags may differ with the way in which they came."""
    import obstore

    sizes = {obstore.head(open_bucket(bucket), key)["size"] for bucket, key in (one, other)}
    if len(sizes) > 1:
        return False
    return all(
        len({
            bytes(obstore.get_range(open_bucket(bucket), key, start=at, length=length))
            for bucket, key in (one, other)
        }) == 1
        for at, length in _ranges(sizes.pop())
    )  # fmt: skip


def _ranges(size: int) -> Iterator[tuple[int, int]]:
    return ((at, min(_PIECE, size - at)) for at in range(0, size, _PIECE))
