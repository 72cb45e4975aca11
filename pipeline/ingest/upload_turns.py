"""Whose upload comes next: organisations take turns, and none of them occupies all readers."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from math import inf
from threading import Lock
from time import monotonic

from sqlalchemy import Engine

from pipeline.catalogue.uploads import waiting

SECONDS_BETWEEN_LOOKS = 0.5
"""After which uploads that came meanwhile are looked for, if not all that were known are taken up before."""
MOST_KNOWN = 64
"""Uploads of each organisation that are looked up at a time, as thousands may wait."""


@dataclass
class Turns:
    """Shared by the readers of one server; each server has its own."""

    engine: Engine
    most: int
    """Uploads of one organisation that are read at a time."""
    _known: dict[int, deque[int]] = field(default_factory=dict)
    _looked_at: float = -inf
    _more: bool = False
    _under_way: dict[int, int] = field(default_factory=dict)
    """Upload to organisation."""
    _turns: Iterator[int] = field(default_factory=count)
    _last_turn: dict[int, int] = field(default_factory=dict)
    """Of each organisation, for those that had one."""
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def next(self) -> Iterator[int | None]:
        """The id of the upload whose turn it is, under way until the end of the block; None: nothing to do now.

        Another server may have taken it up.
        """
        with self._lock:
            number = self._take()
        try:
            yield number
        finally:
            with self._lock:
                self._under_way.pop(number or 0, None)

    def _take(self) -> int | None:
        organisation = None if self._is_old() else self._chosen()
        if organisation is None and self._may_look():
            self._look()
            organisation = self._chosen()
        if organisation is None:
            return None
        number = self._known[organisation].popleft()
        self._under_way[number] = organisation
        self._last_turn[organisation] = next(self._turns)
        return number

    def _chosen(self) -> int | None:
        """The organisation that had its last turn longest ago, of those that have an upload and a reader left."""
        busy = Counter(self._under_way.values())
        able = [one for one, known in self._known.items() if known and busy[one] < self.most]
        return min(able, key=lambda one: (self._last_turn.get(one, -1), one), default=None)

    def _is_old(self) -> bool:
        return monotonic() - self._looked_at >= SECONDS_BETWEEN_LOOKS

    def _may_look(self) -> bool:
        """Before it is time for it only where there were more than could be known."""
        return self._is_old() or (self._more and not any(self._known.values()))

    def _look(self) -> None:
        found = waiting(self.engine, MOST_KNOWN)
        self._looked_at = monotonic()
        self._more = any(len(numbers) == MOST_KNOWN for numbers in found.values())
        self._known = {
            organisation: deque(number for number in numbers if number not in self._under_way)
            for organisation, numbers in found.items()
        }
