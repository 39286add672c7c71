"""How it is with limits: what of them is in use, and for whom room is kept. Nothing here writes."""

from __future__ import annotations

from collections.abc import Sequence

from rq_sched.link import Op
from rq_sched.model.amounts import limits_in
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.fit import Place
from rq_sched.model.limits import OFF, Standing
from rq_sched.model.reading import real, text, whole
from rq_sched.store.base import Base

NEVER_SET = -1


class LimitReads(Base):
    """What others ask about limits."""

    def limit_standings(self, names: Sequence[str]) -> Op[dict[str, Standing]]:
        """How it is with limits of these names."""
        if not names:
            return {}
        keys = (self.keys.limits, self.keys.limits_used, self.keys.limits_kept)
        rows = yield from self.rows([("HMGET", key, *names) for key in keys])
        limits, used, kept = (row or [None] * len(names) for row in rows)
        entries = [text(one).split(" ", 3) for one in kept]
        heads = [entry[3] if len(entry) == 4 and entry[0] == "kept" else "" for entry in entries]
        queues = yield from self.rows([("ZRANGE", self.keys.pending(head[SEQUENCE:]), 0, 0) for head in heads])
        found = {}
        for name, most, number, entry, head, queue in zip(names, limits, used, entries, heads, queues, strict=True):
            limit = None if most == OFF.encode() else whole(most, NEVER_SET, 0)
            first = text(queue[0]) if queue else ""
            if head and first[:SEQUENCE] == head[:SEQUENCE]:  # else it waits no more
                place, need = Place(real(entry[2]), head[:SEQUENCE]), limits_in(head[SEQUENCE:]).get(name, 0)
                found[name] = Standing(limit, whole(number), first[SEQUENCE:].rstrip("/"), place, need)
            else:
                found[name] = Standing(limit, whole(number))
        return found
