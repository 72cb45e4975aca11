"""Checks that files lie below the folders, buckets and web servers that may be read."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import NotAllowed
from pipeline.storage.files import S3, WEB
from pipeline.storage.web_files import web_url

Root = str | Path
"""A folder, `s3://bucket/prefix` or `https://host/prefix`. `s3://` alone means every bucket."""
EVERYWHERE: tuple[Root, ...] = ("/", S3)
"""The roots if no setting restricts them; a web server is read only if a root names it."""


class AllowedRoots:
    """Checks that paths lie below one of the roots; symlinks in the roots are resolved once."""

    def __init__(self, roots: Sequence[Root]) -> None:
        names = [str(root) for root in roots]
        real = [_real_root(root) for root in names]
        self._exact = frozenset(root.rstrip("/") for root in real)
        self._below = tuple(root if root == S3 else root.rstrip("/") + "/" for root in real)

    def resolve(self, path: Path | str) -> str:
        """Return the real path. Raises OSError, or NotAllowed if it lies outside the roots."""
        real = os.path.realpath(path, strict=True)
        self.check(real)
        return real

    def check(self, name: str) -> None:
        """Raise NotAllowed unless a real path, `s3://bucket/key` or `https://host/path` lies below a root."""
        if name.startswith(self._below) or name in self._exact:
            return
        if name.startswith(WEB):
            raise NotAllowed(
                "its web server may not be read; add the server to RASTERSOURCES_ROOTS"
            )
        raise NotAllowed(
            "it lies outside the folders that may be read; add its folder or bucket to RASTERSOURCES_ROOTS"
        )


def _real_root(root: str) -> str:
    """Return the prefix of all names below a root. Raises CatalogueError for a URL without a host."""
    if root.startswith(WEB):
        return web_url(root)
    return root if root.startswith(S3) else os.path.realpath(root)
