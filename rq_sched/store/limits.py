"""Limits: set, and looked at."""

from __future__ import annotations

from rq_sched.link import Op
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.limits import OFF, LimitInfo, check_limit_name, parse_most
from rq_sched.model.reading import as_dict, text, whole
from rq_sched.store.base import BATCH
from rq_sched.store.reads import Reads


class Limits(Reads):
    """The operations on limits."""

    def limit_set(self, name: str, most: int | str | None) -> Op[None]:
        """So much may be in use at once; None, or ``off``: who asks for it isn't limited.

        Raises:
            InvalidValue: it can't be that, or there are too many limits.
        """
        wanted = parse_most(most)
        yield from self._one("limit_set", check_limit_name(name), OFF if wanted is None else wanted)

    def limits(self) -> Op[list[LimitInfo]]:
        """All that were set, by name; one that was removed as long as some of it is in use, or wanted."""
        limits, used = yield from self.rows([("HGETALL", self.keys.limits), ("HGETALL", self.keys.limits_used)])
        most, in_use = as_dict(limits or ()), as_dict(used or ())
        names = sorted({text(name) for name in (*most, *in_use)})
        found = []
        for start in range(0, len(names), BATCH):
            page = names[start : start + BATCH]
            first = yield from self._first_waiting(page)
            for name, waiting in zip(page, first, strict=True):
                value = most.get(name.encode())
                limit = None if value == OFF.encode() else whole(value)
                info = LimitInfo(name, limit, whole(in_use.get(name.encode())), waiting)
                if limit is not None or info.in_use or waiting:
                    found.append(info)
        return found

    def _first_waiting(self, names: list[str]) -> Op[list[str | None]]:
        """The first task that waits, of each."""
        heads = yield from self.rows([("ZRANGE", self.keys.limited(name), 0, 0) for name in names])
        queues = [self.keys.pending(text(head[0])[SEQUENCE:]) if head else "" for head in heads]
        asked = [queue for queue in queues if queue]
        members = dict(zip(asked, (yield from self.rows([("ZRANGE", queue, 0, 0) for queue in asked])), strict=True))
        return [text(members[queue][0])[SEQUENCE:].rstrip("/") if members.get(queue) else None for queue in queues]
