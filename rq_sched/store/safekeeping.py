"""Waiting until what was written is as safe as asked for (``durability.py``): WAIT, WAITAOF.

Both wait for what *this connection* has written last. So they travel in the same pipeline as the submits; and as a
submit that only finds its task there already writes nothing, a small write goes before them: whatever the server had
written until then, by whomever, is older.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rq_sched.errors import RedisRefused
from rq_sched.link import ANSWER_SECONDS, Barrier, Command, Op, Request
from rq_sched.model.durability import Durability
from rq_sched.store.keys import Keys

WAITAOF_SINCE = (7, 2)


def answer_seconds(durability: Durability) -> float:
    """How long a link must wait for an answer where submits wait for this level."""
    return ANSWER_SECONDS + (durability.seconds if durability.waits else 0.0)


class Safekeeping:
    """For one namespace, and one level that isn't ``memory``."""

    def __init__(self, keys: Keys, durability: Durability) -> None:
        self._keys = keys
        self._durability = durability
        self._checked = False
        self._waitaof = True

    def check(self) -> Op[None]:
        """Before the first submit: whether the server can give this level at all.

        Raises:
            RedisRefused: it can't; nothing was submitted.
        """
        if self._checked or self._durability.level != "aof":
            return
        command: Command = ("INFO", "everything")
        info = dict(re.findall(r"^(\w+):([^\r\n]*)", (yield [command])[0].decode("utf-8", "replace"), re.MULTILINE))
        if info.get("aof_enabled") != "1":
            raise RedisRefused("durability aof: the server's append-only file is off (appendonly yes turns it on)")
        self._waitaof = tuple(map(int, info["redis_version"].split(".")[:2])) >= WAITAOF_SINCE
        if not self._waitaof:
            ask: Command = ("CONFIG", "GET", "appendfsync")
            found = (yield [ask])[0]
            if not found or found[1] != b"always":
                raise RedisRefused(
                    f"durability aof: Redis {info['redis_version']} has no WAITAOF: set appendfsync always, or upgrade"
                )
        self._checked = True

    def barriers(self) -> list[Request]:
        """What travels at the end of a pipeline."""
        milliseconds = max(1, round(self._durability.seconds * 1000))
        if self._durability.level == "replicated":
            wait: Command = ("WAIT", self._durability.replicas, milliseconds)
        elif self._waitaof:
            wait = ("WAITAOF", 1, 0, milliseconds)
        else:
            return []
        return [Barrier(("HINCRBY", self._keys.counts, "synced", 1)), Barrier(wait)]

    def shortfall(self, replies: Sequence[Any]) -> str | None:
        """What the barriers' replies say is missing; None: the level is reached."""
        if not replies:
            return None
        for reply in replies:
            if isinstance(reply, Exception):
                return " ".join(str(reply).split())
        within = f"within {self._durability.seconds:g} s"
        answer = replies[-1]
        if self._durability.level == "replicated":
            wanted = self._durability.replicas
            return None if answer >= wanted else f"{answer} of {wanted} replicas had them {within}"
        return None if answer[0] >= 1 else f"they weren't on the server's disk {within}"
