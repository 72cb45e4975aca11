"""The folders and prefixes that files may be read from."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import NotAllowed
from pipeline.storage.s3 import S3

Root = str | Path
"""A folder, or `s3://bucket/prefix`; `s3://` alone stands for every bucket."""
EVERYWHERE: tuple[Root, ...] = ("/", S3)
"""The roots where no setting narrows them."""


class AllowedRoots:
    """Roots without symlinks, ready to compare with."""

    def __init__(self, roots: Sequence[Root]) -> None:
        names = [str(root) for root in roots]
        known = [root if root.startswith(S3) else os.path.realpath(root) for root in names]
        self._exact = frozenset(root.rstrip("/") for root in known)
        self._below = tuple(root if root == S3 else root.rstrip("/") + "/" for root in known)

    def resolve(self, path: Path | str) -> str:
        """The real path. Raises NotAllowed where it lies outside the roots, and OSError."""
        real = os.path.realpath(path, strict=True)
        self.check(real)
        return real

    def check(self, name: str) -> None:
        """Raises NotAllowed for a real path or `s3://bucket/key` outside the roots."""
        if not name.startswith(self._below) and name not in self._exact:
            raise NotAllowed("it lies outside the folders that may be read; allow its folder")
