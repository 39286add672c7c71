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
        self._asked: deque[tuple[Op[Any], int, Callable[[Any], None]]] = deque()

    def ask(self, op: Op[Any], then: Callable[[Any], None]) -> None:
        """Send; ``then`` gets the result once ``answers`` has come to it."""
        requests = next(op)
        self._stream.send(requests)
        self._asked.append((op, len(requests), then))

    def answers(self) -> None:
        """Take all replies."""
        while self._asked:
            op, count, then = self._asked.popleft()
            try:
                op.send(self._stream.receive(count))
            except StopIteration as stop:
                then(stop.value)
            else:
                raise RqSchedError("an operation of several round trips can't travel with others")

    def close(self) -> None:
        self._stream.close()
