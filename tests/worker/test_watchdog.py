"""What the watchdog decides, by what it is told of processes; on a clock that only the test moves. (Real processes that
use real memory: ``tests/worker/test_memory.py``.)"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from rq_sched.worker.agent import watchdog
from rq_sched.worker.agent.attempt import Ending
from rq_sched.worker.agent.watchdog import FRESH, LATEST
from rq_sched.worker.config import MEMORY_FLOOR
from tests.client.stepped import play
from tests.worker.played_machine import Machine, mb, played, rising, steady

Make = Callable[..., Machine]


@pytest.fixture
def machine() -> Iterator[Make]:
    with played() as make:
        yield make


# -- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1.0, 20.0, 200.0])
def test_a_leak_is_stopped_at_its_limit(machine: Make, rate: float) -> None:
    """Not before, and at most a tenth beyond."""

    async def scene() -> None:
        m = machine()
        attempt = m.watch("leak", rising(rate), mb(100))
        neighbour = m.watch("neighbour", steady(95), mb(100))
        await asyncio.sleep(150)
        assert list(m.killed) == ["leak"]
        assert 100 < rate * m.killed["leak"] <= 110
        assert m.wishes == [], "it has its maximum"
        assert attempt.why.endswith("and was allowed 100 MB: ask for more with memory= (--memory), or let it grow with "
                                    "max_memory= (--max-memory)")  # fmt: skip
        assert neighbour.ending is None

    play(scene())


def test_a_jump_far_beyond_the_limit_is_noticed_within_the_time_that_its_room_allows(machine: Make) -> None:
    """With 100 MB to go, 1,000 MB a second: in 0.1 s, though nothing had happened for a minute."""

    async def scene() -> None:
        m = machine()
        attempt = m.watch("jumps", lambda time: 0 if time < 60.03 else 5000, mb(100))
        await asyncio.sleep(70)
        assert 60.03 <= m.killed["jumps"] <= 60.13
        assert "it used 5000 MB" in attempt.why

    play(scene())


def test_who_is_far_from_its_limit_is_looked_at_once_a_second(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        m.watch("small", steady(10), mb(5000))
        await asyncio.sleep(100)
        assert len(m.quick_looks) == pytest.approx(100 / LATEST, abs=2)
        assert m.exact_looks == []

    play(scene())


def test_looks_that_cost_much_are_fewer(machine: Make) -> None:
    """10 attempts close to their limits would be looked at every 10 ms; at 2 ms a look that would be two cores. A
    thirtieth of one may be used."""

    async def scene() -> None:
        m = machine()
        m.look_takes = 0.002
        for n in range(10):
            m.watch(f"t{n}", steady(95), mb(100))
        await asyncio.sleep(60)
        assert 0.5 * watchdog.BUDGET < m.perf_counter() / 60 <= 1.1 * watchdog.BUDGET
        for attempt in list(m.attempts.all.values())[1:]:
            m.dog.over(attempt)
        before = len(m.quick_looks)
        await asyncio.sleep(10)
        assert len(m.quick_looks) - before == pytest.approx(10 * watchdog.BUDGET / 0.002, rel=0.1), "all for the last"

    play(scene())


def test_exact_looks_take_a_tenth_of_the_time_at_most(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        m.exact_takes = 0.05  # 3 GB
        m.watch("near", steady(95), mb(100))
        await asyncio.sleep(60)
        assert 0.5 * 60 / 0.5 < len(m.exact_looks) <= 60 / 0.5 + 1

    play(scene())


@pytest.mark.parametrize("floor", [MEMORY_FLOOR, 64])
def test_no_task_is_stopped_for_what_python_takes(machine: Make, floor: int) -> None:
    async def scene() -> None:
        m = machine(floor=floor)
        m.watch("modest", steady(floor - 1), mb(5))
        attempt = m.watch("not modest", steady(floor + 1), mb(5))
        await asyncio.sleep(10)
        assert list(m.killed) == ["not modest"]
        assert f"was allowed {floor} MB" in attempt.why

    play(scene())


def test_memory_that_is_shared_is_nobodys(machine: Make) -> None:
    """Ten processes are seen with 30 MB each that aren't their own."""

    async def scene() -> None:
        m = machine()
        attempt = m.watch("many", steady(50), mb(100))
        assert attempt.child is not None
        for n in range(9):
            m.process(n + 1, steady(1), above=attempt.child.pid)
        await asyncio.sleep(30)
        assert m.killed == {}
        assert m.exact_looks, "a quick look alone says 350 MB"

    play(scene())


def test_a_tree_that_forks_counts_together(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        attempt = m.watch("forks", steady(20), mb(150))
        assert attempt.child is not None
        for n in range(4):
            await asyncio.sleep(5)
            m.process(n + 1, steady(40), above=attempt.child.pid if n < 2 else n)  # a grandchild, and below that
        await asyncio.sleep(5)
        assert 20 <= m.killed["forks"] < 20.2, "20 and 3 × 40 are 140, the fourth is too much"
        assert "it used 180 MB" in attempt.why

    play(scene())


def test_where_nothing_is_enforced_nobody_is_stopped_or_even_watched(machine: Make) -> None:
    async def scene() -> None:
        m = machine(memory=False)
        m.watch("off", rising(100), mb(100))
        await asyncio.sleep(20)
        assert m.quick_looks == []
        m.watch("measured", rising(100), mb(100), elastic="cpu")
        await asyncio.sleep(20)
        assert len(m.quick_looks) == pytest.approx(20, abs=2)
        assert (m.killed, m.exact_looks) == ({}, [])
        m.watch("measured well", rising(100), mb(100), elastic="all")
        await asyncio.sleep(20)
        assert m.exact_looks
        assert (m.killed, m.wishes) == ({}, [])

    play(scene())


def test_who_is_over_is_looked_at_no_more(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        ends, stopped = (m.watch(name, rising(9), mb(100)) for name in ("ends", "stopped"))
        await asyncio.sleep(5)
        m.dog.over(ends)
        stopped.ending = Ending.STOPPED
        before = len(m.quick_looks)
        await asyncio.sleep(20)
        assert len(m.quick_looks) == before
        assert m.killed == {}

    play(scene())


def test_an_exact_look_that_was_still_under_way_says_nothing_of_who_is_over(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        m.loop.thread_takes = 0.5  # type: ignore[attr-defined]
        gone, stopped = (m.watch(name, steady(500), mb(100)) for name in ("gone", "stopped"))
        await asyncio.sleep(0.2)
        m.dog.over(gone)
        stopped.ending = Ending.STOPPED
        await asyncio.sleep(5)
        assert len(m.exact_looks) == 2
        assert m.killed == {}

    play(scene())


def test_a_process_that_has_just_ended_uses_nothing_and_proves_nothing(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        m.exact = lambda pids, noted=True: 0.0  # type: ignore[method-assign]
        m.watch("gone", steady(50), mb(500), elastic="all")
        await asyncio.sleep(20)
        assert m.wishes == []

    play(scene())


# -- children -------------------------------------------------------------------------------------


def test_what_a_child_had_before_is_not_its_tasks(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        attempt = m.watch("next", steady(60 + 90), mb(100))
        m.dog.over(attempt)
        assert attempt.child is not None
        attempt.child.base = 60
        m.dog.lasts(attempt)
        await asyncio.sleep(10)
        assert m.killed == {}
        m.process(attempt.child.pid, steady(FRESH + 60 + 101))
        await asyncio.sleep(1)
        assert "next" in m.killed

    play(scene())
