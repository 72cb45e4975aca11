"""The folders and prefixes that files may be read from."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import NotAllowed
from pipeline.storage.files import S3

Root = str | Path
"""A folder, or `s3://bucket/prefix`. `s3://` alone means every bucket."""
EVERYWHERE: tuple[Root, ...] = ("/", S3)
"""The roots if no setting restricts them."""


class AllowedRoots:
    """Checks that paths lie below one of the roots. Symlinks in the roots are resolved once."""

    def __init__(self, roots: Sequence[Root]) -> None:
        names = [str(root) for root in roots]
        real = [root if root.startswith(S3) else os.path.realpath(root) for root in names]
        self._exact = frozenset(root.rstrip("/") for root in real)
        self._below = tuple(root if root == S3 else root.rstrip("/") + "/" for root in real)

    def resolve(self, path: Path | str) -> str:
        """Return the real path. Raises OSError, or NotAllowed if it lies outside the roots."""
        real = os.path.realpath(path, strict=True)
        self.check(real)
        return real

    def check(self, name: str) -> None:
        """Raise NotAllowed unless a real path or `s3://bucket/key` lies below a root."""
        if not name.startswith(self._below) and name not in self._exact:
            raise NotAllowed("it lies outside the folders that may be read; allow its folder")
