"""Whether a line that one listens on still stands: a silent connection looks like a quiet one."""

from __future__ import annotations

import time

from redis import exceptions

from rq_sched.link import drivers

SIGN_OF_LIFE = 10.0
"""Seconds of silence after which who listens asks whether the line still stands."""


class Silence:
    """How long nothing was heard."""

    def __init__(self) -> None:
        self.broken()

    def broken(self) -> None:
        """Something was heard."""
        self._since = time.monotonic()
        self._asked = False

    def must_ask(self) -> bool:
        """Whether a sign of life is to be asked for now: once in a silence.

        Raises:
            redis.TimeoutError: it was asked for, and none came.
        """
        quiet = time.monotonic() - self._since
        if quiet >= SIGN_OF_LIFE + drivers.ANSWER_SECONDS:
            raise exceptions.TimeoutError("the line is silent")
        if quiet < SIGN_OF_LIFE or self._asked:
            return False
        self._asked = True
        return True
