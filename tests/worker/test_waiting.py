"""Short tasks keep few children at work; long ones don't wait for that. With children that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from rq_sched.worker.agent.waiting import PATIENCE, SHORT, Pace
from tests.client.stepped import play
from tests.worker.played_children import FakeChild, Scene, completed

MOST = 4
A_MOMENT = PATIENCE / 10


class Stage(Scene):
    """64 slots whose children all rest."""

    def __init__(self) -> None:
        super().__init__(idle=64, pace=Pace(MOST))

    def start_all(self, name: str, count: int) -> list[str]:
        tokens = [f"{name}{n}" for n in range(count)]
        for token in tokens:
            self.start(token)
        return tokens

    @property
    def running(self) -> list[str]:
        return [token for token, attempt in self.attempts.all.items() if attempt.child is not None]

    def end(self, token: str) -> FakeChild:
        child = self.child(token)
        self.says(token, completed(token))
        return child


def on_stage(scene: Callable[[Stage], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """The test is a coroutine whose clock only moves as it sleeps."""

    def test() -> None:
        async def run() -> None:
            await scene(Stage())

        play(run())

    test.__name__, test.__doc__ = scene.__name__, scene.__doc__
    return test


@on_stage
async def test_short_tasks_run_in_few_children_one_after_the_other(s: Stage) -> None:
    tokens = s.start_all("short", 28)
    assert s.running == tokens[:MOST]
    used = set()
    for token in tokens:
        await asyncio.sleep(A_MOMENT)
        used.add(s.end(token))
    assert len(used) == MOST
    assert len(s.outbox.reports) == 28
    again = s.start_all("again", MOST)
    assert {s.child(token) for token in again} == used, "and the next ones, as they have rested least"


@on_stage
async def test_tasks_that_last_all_begin_within_a_moment(s: Stage) -> None:
    s.start_all("sleeps", 64)
    await asyncio.sleep(2 * PATIENCE)
    assert len(s.running) == 64


@on_stage
async def test_tasks_that_last_begin_soon_though_short_ones_end_all_the_time(s: Stage) -> None:
    """Of those that came together, none has to wait until the short ones have run dry."""
    s.start_all("early", MOST - 1)
    sleepers = s.start_all("sleeps", 40)
    short = s.start("short0").token
    for turn in range(200):
        await asyncio.sleep(A_MOMENT)
        if short in s.running:
            s.end(short)
            short = s.start(f"short{turn + 1}").token
    assert set(sleepers) <= set(s.running)
    assert len(s.outbox.reports) > 10


@on_stage
async def test_who_has_run_for_a_while_takes_nobody_s_place(s: Stage) -> None:
    s.start_all("sleeps", 2 * MOST)
    await asyncio.sleep(SHORT + 2 * PATIENCE)
    tokens = s.start_all("short", MOST + 1)
    assert s.running[2 * MOST :] == tokens[:MOST]


@on_stage
async def test_what_waits_for_the_pace_can_be_stopped_and_given_back(s: Stage) -> None:
    tokens = s.start_all("short", MOST + 2)
    s.stop(tokens[-1])
    s.attempts.return_waiting()
    assert s.outbox.outcomes == [(tokens[-1], "stopped"), (tokens[-2], "returned")]
    await asyncio.sleep(2 * PATIENCE)
    assert s.running == tokens[:MOST]


@on_stage
async def test_a_child_is_asked_for_only_when_none_rests(s: Stage) -> None:
    s.start_all("short", 28)
    assert s.pool.asked == 0
    s.pool.idle.clear()
    await asyncio.sleep(2 * PATIENCE)
    assert s.pool.asked == 28 - MOST
