"""Operations sent ahead of their replies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rq_sched.errors import RqSchedError
from rq_sched.link import Link, Op


class Calls:
    """Sends what operations of one round trip ask, and hands out their results in order.

    Parameters:
        link: a line to the server.
        scripts: the scripts that the operations call.
    """

    def __init__(self, link: Link, scripts: Sequence[str]) -> None:
        self._stream = link.stream(scripts)
        self._asked: deque[tuple[int, Op[Any], int, Callable[[Any], None]]] = deque()

    def ask(self, now: int, op: Op[Any], then: Callable[[Any], None]) -> None:
        """Send, at ``now`` (ms, virtual); ``then`` gets the result once ``answers`` has come to it."""
        requests = next(op)
        self._stream.send(requests)
        self._asked.append((now, op, len(requests), then))

    @property
    def since(self) -> int | None:
        """When the first operation was sent whose reply wasn't taken yet."""
        return self._asked[0][0] if self._asked else None

    def answer(self) -> None:
        """Take the next reply."""
        _, op, count, then = self._asked.popleft()
        try:
            op.send(self._stream.receive(count))
        except StopIteration as stop:
            then(stop.value)
        else:
            raise RqSchedError("an operation of several round trips can't travel with others")

    def answers(self) -> None:
        """Take all replies."""
        while self._asked:
            self.answer()

    def close(self) -> None:
        self._stream.close()
