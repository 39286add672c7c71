"""What all operations are made of: the keys of a namespace, a clock, calls of scripts."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from typing import Any

from rq_sched.link import Command, Op, Request, Row, scripts
from rq_sched.link.scripts import Argument, Call
from rq_sched.store.keys import Keys

BATCH = 64
"""Tasks a script call takes: more would let one call run for milliseconds."""
PIPELINE = 20
"""Calls sent before their replies are read."""
PAGE = 500
"""Commands that travel together."""


class Base:
    """The keys of a namespace, and ways to call its scripts.

    Parameters:
        now_ms: a clock in ms that replaces Redis'; None: Redis' own.
    """

    def __init__(self, keys: Keys, now_ms: Any = None) -> None:
        self.keys = keys
        self._now = now_ms or (lambda: "")
        self.in_use: set[str] = set()
        """Features that this process has found in use: they stay so."""
        self.has_schedules = False
        """Whether there were any at the last sweep."""

    def call(self, name: str, *arguments: Argument) -> Call:
        """A request for a script; the time comes first."""
        return Call(scripts.load(name), self.keys.prefix, (self._now(), *arguments))

    def paged(self, commands: Sequence[Command]) -> Generator[Sequence[Request], list[Any], list[Any]]:
        replies: list[Any] = []
        for i in range(0, len(commands), PAGE):
            replies += yield commands[i : i + PAGE]
        return replies

    def rows(self, commands: Sequence[Command]) -> Generator[Sequence[Request], list[Any], list[Any]]:
        """The same of rows: None for one whose key is of another type."""
        replies: list[Any] = []
        for i in range(0, len(commands), PAGE):
            found = yield [Row(command) for command in commands[i : i + PAGE]]
            replies += [None if isinstance(reply, Exception) else reply for reply in found]
        return replies

    def now(self) -> Op[int]:
        """The time that the scripts go by, in ms."""
        if own := self._now():
            return int(own)
        seconds, micros = (yield [("TIME",)])[0]
        return int(seconds) * 1000 + int(micros) // 1000

    def _one(self, name: str, *arguments: Argument) -> Generator[Sequence[Request], list[Any], Any]:
        """The answer of one script."""
        return (yield [self.call(name, *arguments)])[0]


def nonce() -> str:
    """Random text that makes a call, and the tokens it gives out, unlike any other."""
    return secrets.token_hex(4)
