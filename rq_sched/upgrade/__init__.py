"""Converting the data of a namespace to the version that this code works with (``docs/guides/upgrade.md``).

``Upgrade.begin`` makes sure that nobody else is there, and that nobody comes in: from then on the data are of a version
that no process knows (``FROM>TO``). ``bite`` converts some of them; what was converted is passed over, so that a
conversion that was killed is just begun again. ``end`` lets everybody in. One module a version: ``from_1.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rq_sched.link import Op
from rq_sched.model.reading import text
from rq_sched.model.schema import SCHEMA
from rq_sched.store.base import Base
from rq_sched.store.keys import Keys
from rq_sched.upgrade import from_1

Bite = Callable[[Keys, int], Op[tuple[int, int]]]
"""Converts some tasks, from a cursor on: the next cursor (0: none), and how many."""
FROM: dict[int, Bite] = {1: from_1.bite}
"""The version that data have → what makes them the next one."""


class Upgrade(Base):
    """The conversion of one namespace, in steps that its caller takes (``rq-sched upgrade``)."""

    def __init__(self, namespace: str, now_ms: Any = None) -> None:
        super().__init__(Keys(namespace), now_ms)
        self.version: int | None = None
        """From which the next bite converts; None: there is nothing to do."""

    def begin(self) -> Op[int | None]:
        """Keep everybody out; the version from which to convert, or None. What nodes hold that didn't leave in order
        will be given back.

        Raises:
            NamespaceInUse: processes live; the message names them.
            OtherSchema: the data are newer than this code.
        """
        found = text((yield from self._one("upgrade_begin")))
        self.version = int(found) if found else None
        return self.version

    def bite(self, cursor: int) -> Op[tuple[int, int]]:
        """Convert some tasks from there on: where to go on (0: all are done), and how many they were."""
        assert self.version is not None, "begin first"
        return (yield from FROM[self.version](self.keys, cursor))

    def end(self) -> Op[int | None]:
        """All are converted to the next version: the version from which to go on, or None."""
        assert self.version is not None, "begin first"
        self.version = self.version + 1 if self.version + 1 < SCHEMA else None
        entry = str(SCHEMA) if self.version is None else f"{self.version}>{SCHEMA}"
        yield [("HSET", self.keys.settings, "schema", entry)]
        return self.version
