"""Chooses the next upload: organisations take turns, and no organisation occupies all readers."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from math import inf
from threading import Lock
from time import monotonic

from sqlalchemy import Engine

from pipeline.catalogue.uploads import list_waiting

SECONDS_BETWEEN_LOOKS = 0.5
"""Time after which the database is queried for new uploads, even if known uploads are still waiting."""
MOST_KNOWN = 64
"""Maximum number of uploads of each organisation per query, because thousands may wait."""


@dataclass
class Turns:
    """The turns of the organisations, shared by the readers of one server."""

    engine: Engine
    most: int
    """Maximum number of uploads of one organisation that are read at a time."""
    _known: dict[int, deque[int]] = field(default_factory=dict)
    """The ids of waiting uploads by organisation."""
    _looked_at: float = -inf
    _more: bool = False
    """Whether an organisation has more waiting uploads than `_known` contains."""
    _under_way: dict[int, int] = field(default_factory=dict)
    """Upload id -> organisation of the uploads that are being processed."""
    _turns: Iterator[int] = field(default_factory=count)
    _last_turn: dict[int, int] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def any_wait(self) -> bool:
        """Return whether uploads wait, including those of organisations that use all their readers."""
        with self._lock:
            if monotonic() - self._looked_at >= SECONDS_BETWEEN_LOOKS:
                self._load_waiting()
            return any(self._known.values())

    @contextmanager
    def next(self) -> Iterator[int | None]:
        """Yield the id of the next upload, or None; it counts as being processed during the block.

        Another server may have claimed the upload.
        """
        with self._lock:
            upload_id = self._take()
        try:
            yield upload_id
        finally:
            with self._lock:
                self._under_way.pop(upload_id or 0, None)

    def _take(self) -> int | None:
        is_old = monotonic() - self._looked_at >= SECONDS_BETWEEN_LOOKS
        organisation = None if is_old else self._choose()
        if organisation is None and (is_old or (self._more and not any(self._known.values()))):
            self._load_waiting()
            organisation = self._choose()
        if organisation is None:
            return None
        upload_id = self._known[organisation].popleft()
        self._under_way[upload_id] = organisation
        self._last_turn[organisation] = next(self._turns)
        return upload_id

    def _choose(self) -> int | None:
        """Return the organisation, among those with a waiting upload and a free reader, with the earliest last turn."""
        busy = Counter(self._under_way.values())
        able = [id_ for id_, known in self._known.items() if known and busy[id_] < self.most]
        return min(able, key=lambda id_: (self._last_turn.get(id_, -1), id_), default=None)

    def _load_waiting(self) -> None:
        """Query the database for waiting uploads."""
        waiting_ids = list_waiting(self.engine, MOST_KNOWN)
        self._looked_at = monotonic()
        self._more = any(len(ids) == MOST_KNOWN for ids in waiting_ids.values())
        self._known = {
            organisation: deque(upload_id for upload_id in ids if upload_id not in self._under_way)
            for organisation, ids in waiting_ids.items()
        }
