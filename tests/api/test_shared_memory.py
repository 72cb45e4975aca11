"""The processes of a server share counts and locks; a killed process releases its locks."""

import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import sleep
from typing import Any

import pytest

from pipeline.api.dry_run_uploads import MAX_FILES, DryRunSlots
from pipeline.api.problems import Problem
from pipeline.api.shared_memory import COUNTS, RUNNING, TO_COME, SharedMemory

FORK = multiprocessing.get_context("fork")


@contextmanager
def other_process(shared: SharedMemory, work: Any) -> Iterator[None]:
    """Run `work` as process 1, and kill it at the end of the block."""
    done = FORK.Event()

    def run() -> None:
        shared.take_row(1)
        with ExitStack() as stack:
            work(stack)
            done.set()
            sleep(600)

    process = FORK.Process(target=run)
    process.start()
    try:
        assert done.wait(60)
        yield
    finally:
        process.kill()
        process.join()


def test_a_lock_excludes_all_processes_until_its_own_is_killed() -> None:
    shared = SharedMemory(2)
    with (
        other_process(shared, lambda stack: stack.enter_context(shared.lock_one(range(5, 6)))),
        shared.lock_one(range(5, 6)) as taken,
        shared.lock_one(range(5, 7)) as other,
        shared.lock_one(range(5, 7)) as neither,
    ):
        assert (taken, other, neither) == (False, True, False)
    with shared.lock_one(range(5, 6)) as is_free:
        assert is_free


def test_counts_survive_a_kill_and_running_requests_do_not() -> None:
    shared = SharedMemory(2)

    def count(_: ExitStack) -> None:
        for column in (RUNNING, TO_COME, COUNTS):
            shared.own[column] += 2

    shared.own[COUNTS] += 1
    with other_process(shared, count):
        assert [shared.total(column) for column in (RUNNING, TO_COME, COUNTS)] == [2, 2, 3]
    shared.take_row(1)
    assert [shared.total(column) for column in (RUNNING, TO_COME, COUNTS)] == [0, 0, 3]


def test_dry_runs_of_an_organisation_are_limited_over_all_processes() -> None:
    shared = SharedMemory(2)
    slots = DryRunSlots(shared)

    def hold(stack: ExitStack) -> None:
        for _ in range(MAX_FILES - 1):
            stack.enter_context(slots.slot(7))

    with (
        other_process(shared, hold),
        slots.slot(8),
        slots.slot(7),
        pytest.raises(Problem, match="4 dry runs"),
        slots.slot(7),
    ):
        pass
    with ExitStack() as stack:
        for _ in range(MAX_FILES):
            stack.enter_context(slots.slot(7))
