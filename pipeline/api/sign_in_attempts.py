"""Limits sign-ins: after some failures, each attempt with a name from an address must wait longer than the one before.

Attempts from other addresses are not affected, so that nobody can lock a user out. A rejected attempt is answered at
once.
"""

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil

from pipeline.api.database import Database
from pipeline.api.problems import too_many_sign_ins
from pipeline.catalogue.users import QUERIES

FREE_FAILURES = 5
"""Failed sign-ins with a name from an address, within `MINUTES`, after which further ones must wait."""
MINUTES = 15.0
"""How long failures count; also the longest wait of a name."""
MAX_ADDRESS_WAIT = 60.0
"""Longest wait of an address in seconds, after failures with several names; it is short, as people may share one."""
ADDRESS_FACTOR = 4
"""An address may have this many times as many failures as a name before it must wait."""
MAX_FAILURES = 10_000
"""Maximum number of stored failures; the oldest are deleted."""


@dataclass(frozen=True)
class SignInAttempts:
    """Failed sign-ins, stored in the database for all server processes."""

    database: Database

    async def begin(self, username: str, address: str) -> int:
        """Record an attempt as failed until it succeeds, and return its id; raise Problem 429 if it is too early."""
        names = {"username": username, "address": network_of(address)}
        (attempt,) = await self.database.rows(QUERIES["record_failure"], **names)
        attempt_id: int = attempt.id
        (failed,) = await self.database.rows(
            QUERIES["count_failures"], attempt=attempt_id, minutes=MINUTES, **names
        )
        name_wait = delay(failed.by_name, FREE_FAILURES, 60 * MINUTES)
        address_wait = delay(failed.by_address, ADDRESS_FACTOR * FREE_FAILURES, MAX_ADDRESS_WAIT)
        wait = max(name_wait - failed.since_name, address_wait - failed.since_address)
        if wait > 0:
            await self.cancel(attempt_id)
            raise too_many_sign_ins(ceil(wait))
        return attempt_id

    async def cancel(self, attempt_id: int) -> None:
        """Delete an attempt that must not count as failed."""
        await self.database.execute(QUERIES["delete_failure"], id=attempt_id)

    async def fail(self) -> None:
        """Delete failures that are too old to count, and the oldest beyond `MAX_FAILURES`."""
        await self.database.execute(QUERIES["prune_failures"], minutes=MINUTES, most=MAX_FAILURES)

    async def succeed(self, username: str, address: str) -> None:
        """Delete the failures of a name at an address."""
        network = network_of(address)
        await self.database.execute(QUERIES["clear_failures"], username=username, address=network)


def delay(failures: int, free: int, longest: float) -> float:
    """Return the seconds between the last failure and the next attempt: 1, 2, 4 and so on after `free` failures."""
    return min(longest, 2.0 ** min(failures - free, 30)) if failures >= free else 0.0


def network_of(address: str) -> str:
    """Return the network of one client: an IPv4 address, or the first 64 bits of an IPv6 address."""
    with suppress(ValueError):  # a proxy may send any text
        parsed = ip_address(address)
        if isinstance(parsed, IPv6Address):
            network = IPv6Network((int(parsed), 64), strict=False)
            return str(parsed.ipv4_mapped or network)
        return str(parsed)
    return address[:64]
