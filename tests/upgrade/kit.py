"""A namespace as version 1 left it (``version_1.json``; ``make_version_1.py.txt`` tells how it was made)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rq_sched.link import Command, Link, Op, Request
from rq_sched.store import Store
from rq_sched.upgrade import Upgrade

WRITE = {"string": "SET", "hash": "HSET", "zset": "ZADD", "set": "SADD", "list": "RPUSH"}


@cache
def version_1() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("version_1.json").read_text())
    return found


def asked(*commands: Request) -> Op[list[Any]]:
    return (yield commands)


class Old:
    """That namespace, in the test's own."""

    def __init__(self, link: Link, store: Store) -> None:
        self.link = link
        self.store = store
        for name, (kind, value) in version_1()["keys"].items():
            for command in _writing(store.keys.prefix.encode() + name.encode("latin-1"), kind, value):
                link.run(asked(command))

    def schema(self) -> str:
        found: bytes = self.link.run(asked(("HGET", self.store.keys.settings, "schema")))[0]
        return found.decode()

    def everything(self) -> Mapping[bytes, bytes]:
        """All keys with their contents."""
        keys = sorted(self.link.run(asked(("KEYS", self.store.keys.prefix + "*")))[0])
        dumps = self.link.run(asked(*(("DUMP", key) for key in keys)))
        return dict(zip(keys, dumps, strict=True))

    def readable(self) -> dict[bytes, Any]:
        """The parts of all tasks: texts, attempts, what changes of arrays."""
        prefix = self.store.keys.prefix
        found: dict[bytes, Any] = {}
        for kind, command in (("task", "GET"), ("ended", "GET"), ("array", "HGETALL")):
            keys = sorted(self.link.run(asked(("KEYS", f"{prefix}{kind}:*")))[0])
            found |= dict(zip(keys, self.link.run(asked(*((command, key) for key in keys))), strict=True))
        found[b"placed"] = sorted(self.link.run(asked(("HGETALL", self.store.keys.placed)))[0])
        return found

    def upgrade(self, bites: int | None = None) -> int | None:
        """Upgrade it; with ``bites`` killed after so many. How many it took, None if it was killed."""
        upgrade, taken, cursor = Upgrade(self.store.keys.namespace), 0, 0
        version = self.link.run(upgrade.begin())
        while version is not None:
            while taken != bites:
                cursor, _ = self.link.run(upgrade.bite(cursor))
                taken += 1
                if not cursor:
                    break
            else:
                return None
            version = self.link.run(upgrade.end())
        return taken


def _writing(key: bytes, kind: str, value: Any) -> list[Command]:
    if kind == "stream":
        return [("XADD", key, entry, *_raw(fields)) for entry, fields in value]
    parts = _raw(value if isinstance(value, list) else [value])
    if kind == "zset":
        parts = [part for pair in zip(parts[1::2], parts[::2], strict=True) for part in pair]
    return [(WRITE[kind], key, *parts)]


def _raw(values: list[str]) -> list[bytes]:
    return [value.encode("latin-1") for value in values]
