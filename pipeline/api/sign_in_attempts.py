"""Attempts to sign in: after some failures each further one has to wait longer, by name and address together.

Nobody is locked out elsewhere: what counts is where an attempt comes from. A refused one is answered at once, not held.
"""

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil

from pipeline.api.config import ApiConfig
from pipeline.api.database import Database
from pipeline.api.problems import too_many
from pipeline.catalogue import users

LONGEST_OF_ADDRESS = 60.0
"""Seconds that an address waits at most after failures with several names: others may share it."""
TIMES_AS_MANY = 4
"""Failures that an address has before it waits, for each that a name has there."""
MOST_FAILURES = 10_000
"""Those that are remembered; beyond it the oldest are forgotten."""


@dataclass(frozen=True)
class SignInAttempts:
    """Remembers failures in the database, so that all processes know them."""

    database: Database
    config: ApiConfig

    async def begin(self, username: str, address: str) -> int:
        """Note an attempt, which counts as failed until it succeeds; its number. Raises Problem 429."""
        network = network_of(address)
        (attempt,) = await self.database.rows(users.record_failure(username, network))
        number: int = attempt.id
        minutes, free = self.config.sign_in_minutes, self.config.sign_in_failures
        before = users.count_failures(number, username, network, minutes)
        (failed,) = await self.database.rows(before)
        wait = max(
            delay(failed.by_name, free, 60 * minutes) - failed.since_name,
            delay(failed.by_address, TIMES_AS_MANY * free, LONGEST_OF_ADDRESS)
            - failed.since_address,
        )
        if wait > 0:
            await self.forget(number)
            raise too_many(ceil(wait))
        return number

    async def forget(self, number: int) -> None:
        """It was no attempt."""
        await self.database.execute(users.delete_failure(number))

    async def fail(self) -> None:
        """Forget what is too old to count, or too much."""
        await self.database.execute(
            users.prune_failures(self.config.sign_in_minutes, MOST_FAILURES)
        )

    async def succeed(self, username: str, address: str) -> None:
        """The name has no failures at this address any more."""
        await self.database.execute(users.clear_failures(username, network_of(address)))


def delay(failures: int, free: int, longest: float) -> float:
    """Seconds between the last failure and the next attempt: 1, 2, 4 and so on once `free` have failed."""
    return min(longest, 2.0 ** min(failures - free, 30)) if failures >= free else 0.0


def network_of(address: str) -> str:
    """What one client has: an address of IPv4, 64 bits of IPv6."""
    with suppress(ValueError):  # a proxy may say anything
        parsed = ip_address(address)
        if isinstance(parsed, IPv6Address):
            mapped = parsed.ipv4_mapped
            return str(mapped or IPv6Network((int(parsed), 64), strict=False))
        return str(parsed)
    return address[:64]
