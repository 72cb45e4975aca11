"""The password of the Prefect servers that we start, in a file of the home that only its owner can read."""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from pipeline.errors import CatalogueError

USER = "rastersources"


def password_file(home: Path) -> Path:
    """Return the file with the password that Prefect's pages ask for."""
    return home / "prefect-password"


def server_password(home: Path) -> str:
    """Return the line of the file, `user:password`; the first caller creates the file.

    Raises CatalogueError when other users could have read or written the file.
    """
    path = password_file(home)
    if not path.is_symlink() and not path.exists():
        _create(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror}; delete it") from error
    with open(descriptor, encoding="utf-8") as file:  # noqa: PTH123 - a descriptor has no path
        status = os.fstat(descriptor)
        private = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077
        if not private or status.st_uid != os.geteuid():
            fault = "can be read by other users, or is not a file; delete it to get a new password"
            raise CatalogueError(f"{path} {fault}")
        line = file.read().strip()
    user, _, password = line.partition(":")
    if not user or not password:
        raise CatalogueError(f"{path} does not contain a password; delete it to get a new one")
    return line


def _create(path: Path) -> None:
    """Write a new password to a temporary file and link it into place, so that nobody reads a part of it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{USER}:{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):  # another process created it first
            os.link(name, path)
    finally:
        Path(name).unlink()
