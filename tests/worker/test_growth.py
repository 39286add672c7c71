"""When a node's idle cores are asked for; on a clock that only the test moves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from rq_sched.errors import RedisUnavailable, StaleIncarnation
from rq_sched.model.node import NodeState
from rq_sched.model.orders import Start
from rq_sched.model.resources import Resources
from rq_sched.worker.agent.attempt import Attempt, Ending
from rq_sched.worker.agent.growth import EVERY, Growth
from tests.client.stepped import play
from tests.worker.test_parts import FakeStore, session_of


class Node:
    """A node with 8 cores. Each question is noted with its time; the answers are given, the last one for ever."""

    def __init__(self, *answers: Any, cores: int = 8) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.asked: list[tuple[float, list[str], str]] = []
        self.idle: list[float] = []
        self._answers = list(answers) or [(0, EVERY)]
        self.takes = 0.0  # seconds until an answer is there
        self.session = session_of(self)  # type: ignore[arg-type]
        self.attempts = SimpleNamespace(all={}, last_start=self.loop.time())
        self._tasks: list[Any] = []
        spawn: Any = lambda coroutine: self._tasks.append(self.loop.create_task(coroutine))  # noqa: E731
        self.growth = Growth(self.session, FakeStore(), self.attempts, spawn, cores)  # type: ignore[arg-type]

    async def join(self) -> Node:
        await self.session.join()
        return self

    async def run(self, operation: Any) -> Any:
        """In Redis' place."""
        if operation[0] == "node_register":
            return NodeState.UP
        name, node, incarnation, tokens, options = operation
        assert (name, node) == ("task_grow", "n1")
        self.asked.append((round(self.loop.time() - self.began, 3), list(tokens), incarnation))
        self.idle.append(round(options["idle"], 3))
        await asyncio.sleep(self.takes)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def attempt(self, name: str, need: int = 1, most: int = 4, elastic: str = "cpu") -> Attempt:
        """One that has run for a moment."""
        order = Start(1, name, name, 1, "m:f", b"", 0, Resources(need, 64), Resources(most, 64), None, elastic)
        attempt = self.attempts.all[name] = Attempt(order)
        self.growth.lasts(attempt)
        return attempt

    def resized(self, attempt: Attempt, cpu: int) -> None:
        fewer = cpu < attempt.allocation.cpu
        attempt.allocation = Resources(cpu, 64)
        if fewer:
            self.growth.shrunk(attempt)

    def over(self, attempt: Attempt) -> None:
        del self.attempts.all[attempt.order.token]
        self.growth.over(attempt)

    def times(self) -> list[float]:
        return [time for time, _, _ in self.asked]


def test_it_asks_at_once_and_again_when_the_answer_says() -> None:
    async def scene() -> None:
        node = await Node((0, 0.4), (1, 2.5), (0, 0.0), (0, EVERY)).join()
        await asyncio.sleep(3)
        node.attempt("k")
        await asyncio.sleep(4)
        assert node.times() == [3, 3.4, 5.9, 5.95, 6.95]  # however soon the answer says: not at once
        assert node.idle == [3, 3.4, 5.9, 5.95, 6.95], "since the last start"
        assert {tuple(tokens) for _, tokens, _ in node.asked} == {("k",)}

    play(scene())


def test_who_could_not_use_more_is_not_asked_for() -> None:
    async def scene() -> None:
        node = await Node().join()
        node.attempt("fixed", need=2, most=2)
        node.attempt("off", most=4, elastic="off")
        await asyncio.sleep(10)
        assert node.asked == []
        lender = node.attempt("lender", need=3, most=4)
        node.resized(lender, 2)  # it didn't use its third core
        ends = node.attempt("ends")
        ends.ending = Ending.STOPPED
        await asyncio.sleep(10)
        assert node.asked == []
        node.resized(lender, 3)
        node.growth.shrunk(lender)
        await asyncio.sleep(0.9 * EVERY)
        assert node.growth.candidates() == ["lender"]
        await asyncio.sleep(0.2 * EVERY)
        assert [tokens for _, tokens, _ in node.asked] == [["lender"]]

    play(scene())


def test_a_full_node_is_not_asked_and_is_when_cores_come_free() -> None:
    async def scene() -> None:
        node = await Node().join()
        busy, growing = node.attempt("busy", need=7, most=7), node.attempt("growing")
        await asyncio.sleep(10)
        assert node.asked == []
        node.over(busy)
        await asyncio.sleep(EVERY + 0.1)
        assert node.times() == [10 + EVERY]
        node.resized(growing, 4)  # all that it may have: silence, until it has fewer
        await asyncio.sleep(10)
        assert node.times() == [10 + EVERY]
        node.resized(growing, 2)
        await asyncio.sleep(EVERY + 0.1)
        assert node.times() == [11, 22.1]

    play(scene())


def test_one_question_at_a_time_for_all_who_could_grow() -> None:
    async def scene() -> None:
        node = await Node().join()
        node.takes = 5.0
        node.attempt("a")
        await asyncio.sleep(1)
        b = node.attempt("b")
        node.growth.shrunk(b)
        await asyncio.sleep(6)
        assert [(time, tokens) for time, tokens, _ in node.asked] == [(0, ["a"]), (6, ["a", "b"])]

    play(scene())


def test_when_nobody_is_left_nothing_is_asked() -> None:
    async def scene() -> None:
        node = await Node().join()
        node.over(node.attempt("a"))  # before its question was asked
        await asyncio.sleep(10)
        b = node.attempt("b")
        await asyncio.sleep(2.5)
        node.over(b)
        await asyncio.sleep(10)
        assert node.times() == [10, 11, 12]

    play(scene())


def test_an_outage_is_waited_for() -> None:
    async def scene() -> None:
        node = await Node(RedisUnavailable("away"), RedisUnavailable("away"), (0, 60.0)).join()
        node.attempt("a")
        await asyncio.sleep(30)
        assert node.times() == [0, EVERY, 2 * EVERY]

    play(scene())


def test_a_fenced_node_asks_no_more_until_it_has_joined_anew() -> None:
    async def scene() -> None:
        node = await Node((0, EVERY), StaleIncarnation("declared dead"), (0, 60.0)).join()
        old = node.session.incarnation
        node.attempt("a")
        await asyncio.sleep(20)
        assert [(time, incarnation) for time, _, incarnation in node.asked] == [(0, old), (1, old)]
        assert node.session.lost.is_set()
        await node.join()
        await asyncio.sleep(2 * EVERY)
        assert node.times() == [0, 1, 21]  # what was about to be asked was of the old one
        assert node.asked[-1][2] == node.session.incarnation != old

    play(scene())
