"""The loop of the actors: when each has its next turn."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from rq_sched.scheduler.loop import Loop
from rq_sched.worker.agent.lease import BEAT, FENCE


class Actor:
    """Looks every ten seconds, unless it is told that something is due sooner."""

    every = 10.0
    on_bell = False
    min_gap = 0.0

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.turns: list[float] = []

    async def run_once(self) -> Any:
        self.turns.append(asyncio.get_running_loop().time())
        return self.answers.pop(0) if self.answers else None


def turns(actor: Actor, seconds: float) -> list[float]:
    async def scene() -> None:
        loop = Loop([actor])
        asyncio.get_running_loop().call_later(seconds, loop.stop)
        await loop.run()

    asyncio.run(scene())
    return actor.turns


def test_what_is_due_brings_the_next_turn_forward() -> None:
    first, second = turns(Actor(SimpleNamespace(due_in=0.05)), 0.5)
    assert 0.05 <= second - first < 0.4


def test_what_is_due_later_does_not_put_the_next_turn_off() -> None:
    actor = Actor(SimpleNamespace(due_in=60.0))
    actor.every = 0.05
    assert len(turns(actor, 0.5)) > 2


def test_without_anything_due_a_turn_comes_after_the_period() -> None:
    assert len(turns(Actor(SimpleNamespace(due_in=None)), 0.2)) == 1


def test_an_actor_goes_on_whatever_it_has_met(caplog: pytest.LogCaptureFixture) -> None:
    """What one record says must not end a scheduler: neither this actor's turns nor the others'."""

    class Stumbles(Actor):
        async def run_once(self) -> Any:
            await super().run_once()
            if len(self.turns) < 3:
                raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    class Beside(Actor):
        every = 0.02

    stumbles, beside = Stumbles(), Beside()

    async def scene() -> None:
        loop = Loop([stumbles, beside])
        asyncio.get_running_loop().call_later(1.5, loop.stop)
        await loop.run()

    asyncio.run(scene())
    assert len(stumbles.turns) == 3
    assert len(beside.turns) > 10
    told = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage().split(",")[0] for record in told] == ["stumbles failed"] * 2


def test_what_fails_for_ever_is_overdue_and_says_why() -> None:
    class Fails(Actor):
        every = 0.01

        async def run_once(self) -> Any:
            raise KeyError("lost")

    async def scene() -> str | None:
        loop = Loop([Fails()])
        running = asyncio.ensure_future(loop.run())
        while not (said := loop.overdue(0.1)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        loop.stop()
        await running
        return said

    assert asyncio.run(scene()) == "the fails has done nothing for 0 s: KeyError: 'lost'"


def test_heartbeats_have_their_chances() -> None:
    """Three before a node counts as dead, two before it ends its tasks."""
    assert 3 * BEAT < 1
    assert 2 * BEAT < FENCE
