"""What the watchdog asks for and gives back, by what it is told of processes; on a clock that only the test moves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest

from rq_sched.model.elastic import RULES
from rq_sched.model.resources import Resources
from rq_sched.worker.agent import watchdog
from rq_sched.worker.agent.attempt import Ending
from rq_sched.worker.agent.watchdog import PATIENCE
from tests.client.stepped import play
from tests.worker.played_machine import Machine, mb, played, rising, steady

Make = Callable[..., Machine]


@pytest.fixture
def machine() -> Iterator[Make]:
    with played() as make:
        yield make


# -- more memory ----------------------------------------------------------------------------------


def test_it_is_asked_for_before_the_limit_and_its_maximum_is_the_end(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        attempt = m.watch("leak", rising(20), mb(100), most=mb(250))
        await asyncio.sleep(30)
        asked = [(20 * time, memory or 0) for time, _, memory in m.wishes]
        allowed = [100, *(memory for _, memory in asked)]
        assert allowed[-1] == 250
        for (used, wish), limit in zip(asked, allowed, strict=False):
            assert limit - 25 <= used <= limit, "as it comes close"
            assert wish > limit
        assert 250 < 20 * m.killed["leak"] <= 275
        assert attempt.allocation == mb(250)

    play(scene())


def test_refused_it_asks_for_less_and_less_and_is_stopped_only_beyond_its_limit(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        m.grants = lambda: False
        attempt = m.watch("leak", rising(2), mb(100), most=mb(1000))
        await asyncio.sleep(60)
        first = m.wishes[0][0]
        assert 85 <= 2 * first <= 100
        at_once = [memory or 0 for time, _, memory in m.wishes if time < first + 1]
        assert at_once == sorted(at_once, reverse=True)
        assert len(at_once) == watchdog.TRIES
        assert 100 < 2 * m.killed["leak"] <= 110
        assert "it may have up to 1000 MB, but none was free on its node" in attempt.why

    play(scene())


def test_while_the_answer_is_awaited_a_tenth_beyond_is_forgiven_and_not_more(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        m.answers_after = 5.0
        m.watch("patient", lambda time: 89 if time < 3 else 105, mb(100), most=mb(300))
        await asyncio.sleep(4)
        assert len(m.wishes) == 1
        await asyncio.sleep(20)
        assert m.killed == {}
        m.answers_after = 20.0
        m.watch("greedy", lambda time: 95 if time < 30 else 100 * PATIENCE + 3, mb(100), most=mb(300))
        await asyncio.sleep(10)
        assert 30 <= m.killed["greedy"] < 30.2, "the answer would have come later"

    play(scene())


@pytest.mark.parametrize(("used", "stopped"), [(105.0, False), (130.0, True)])
def test_who_jumps_a_little_beyond_its_limit_may_still_ask(machine: Make, used: float, stopped: bool) -> None:
    async def scene() -> None:
        m = machine()
        attempt = m.watch("jumps", lambda time: 20 if time < 5 else used, mb(100), most=mb(300))
        await asyncio.sleep(10)
        assert m.wishes[0][0] == pytest.approx(5, abs=0.1)
        assert (attempt.ending is Ending.OOM) is stopped

    play(scene())


def test_what_it_lent_to_others_is_said_when_it_is_stopped(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        m.grants = lambda: False
        attempt = m.watch("lender", rising(5, since=100), mb(500), elastic="all")
        await asyncio.sleep(90)
        assert attempt.allocation.memory < 100
        await asyncio.sleep(50)
        assert "the rest of the 500 MB that it had asked for was lent to others, and none was free" in attempt.why

    play(scene())


# -- giving back ----------------------------------------------------------------------------------


def test_memory_that_is_not_used_is_given_back_after_an_exact_look(machine: Make) -> None:
    """50 MB of its own and 30 that aren't: 82 are kept, not 119. And asked for again when its use rises."""

    async def scene() -> None:
        m = machine()
        m.watch("unused", lambda time: 50 if time < 60 else 50 + 10 * (time - 60), mb(500), elastic="all")
        await asyncio.sleep(60)
        assert [(cpu, memory) for _, cpu, memory in m.wishes] == [(None, 82)]
        assert m.wishes[0][0] >= RULES.memory_window
        assert m.exact_looks[0] < m.wishes[0][0]
        await asyncio.sleep(30)
        assert m.killed == {}
        later = [memory or 0 for _, _, memory in m.wishes[1:]]
        assert later[-1] > 300
        assert later == sorted(later)

    play(scene())


def test_nothing_is_given_back_before_the_first_exact_look(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        m.loop.thread_takes = 20.0  # type: ignore[attr-defined]
        attempt = m.watch("unused", steady(49), mb(500), elastic="all")
        assert attempt.child is not None
        m.process(1, steady(1), above=attempt.child.pid)
        await asyncio.sleep(40)
        ((when, _, memory),) = m.wishes
        assert 20 + RULES.memory_window <= when < 22 + RULES.memory_window
        assert memory == 82, "not 142: what is shared doesn't count"

    play(scene())


@pytest.mark.parametrize("when", [2.0, 2.2, 2.4, 2.6, 2.8])
def test_a_quick_look_that_was_wrong_changes_nothing(machine: Make, when: float) -> None:
    """Nine processes more, each seen with 30 MB that aren't its own: a moment later that is known. Nothing was asked
    for, and the peak isn't remembered."""

    async def scene() -> None:
        m = machine()
        attempt = m.watch("forks", steady(50), mb(300), most=mb(1000), elastic="all")
        assert attempt.child is not None
        await asyncio.sleep(when)
        for n in range(9):
            m.process(n + 1, steady(1), above=attempt.child.pid)
        await asyncio.sleep(60)
        assert [memory for _, _, memory in m.wishes] == [91]

    play(scene())


@pytest.mark.parametrize("elastic", ["off", "cpu"])
def test_memory_stays_where_that_was_not_allowed(machine: Make, elastic: str) -> None:
    async def scene() -> None:
        m = machine()
        m.watch("keeps", steady(50), mb(500), elastic=elastic)
        await asyncio.sleep(60)
        assert m.wishes == []

    play(scene())


def test_idle_cores_are_given_back_and_asked_for_again_when_all_are_busy(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        four = Resources(4, 500)
        busy = 60.0
        attempt = m.watch("idle", steady(50), four, elastic="cpu", cpu=rising(1.0, since=busy))
        await asyncio.sleep(busy)
        assert [(cpu, memory) for _, cpu, memory in m.wishes] == [(1, None)]
        assert RULES.cpu_window <= m.wishes[0][0] <= RULES.cpu_window + 3
        m.grants = lambda: False
        await asyncio.sleep(10)
        (_, first, _), *again = m.wishes[1:]
        assert first == 4
        assert {cpu for _, cpu, _ in again} == {2}, "refused: a core more is worth something, too"
        times = [time for time, _, _ in again]
        assert all(later - sooner >= RULES.ask_again for sooner, later in itertools.pairwise(times))
        m.grants = lambda: True
        await asyncio.sleep(5)
        assert attempt.allocation.cpu == 2
        assert m.wishes[-1][1] == 2, "it uses one of its two"

    play(scene())


def test_cores_are_counted_over_a_second_however_often_it_is_looked_at(machine: Make) -> None:
    """Four cores for 0.1 s of each second are 0.4 cores."""

    async def scene() -> None:
        m = machine()
        bursts: Callable[[float], float] = lambda time: 0.4 * (time // 1) + min(4 * (time % 1), 0.4)  # noqa: E731
        m.watch("bursts", steady(480), Resources(4, 500), elastic="cpu", cpu=bursts)
        await asyncio.sleep(30)
        assert len(m.quick_looks) > 1000
        assert [(cpu, memory) for _, cpu, memory in m.wishes] == [(1, None)]

    play(scene())


def test_cores_wait_for_the_answer_about_memory(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        m.answers_after = 20.0
        m.watch("idle", lambda time: 20 if time < 10 else 95, Resources(4, 100), most=Resources(4, 300), elastic="cpu")
        await asyncio.sleep(29)
        assert len(m.wishes) == 1
        await asyncio.sleep(5)
        assert [(cpu, memory is None) for _, cpu, memory in m.wishes] == [(None, False), (1, True)]

    play(scene())


def test_one_question_at_a_time(machine: Make) -> None:
    async def scene() -> None:
        m = machine()
        m.answers_after = 20.0
        m.watch("slow", rising(0.5, first=90), mb(100), most=mb(1000), elastic="all")
        await asyncio.sleep(19)
        assert len(m.wishes) == 1

    play(scene())
