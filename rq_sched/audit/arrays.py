"""Checks at arrays: what isn't made, what is made and goes on, and what has ended make up the whole."""

from __future__ import annotations

from typing import Any

from rq_sched.audit.reads import decoded, number, pairs
from rq_sched.link import Command, Op
from rq_sched.model import arrays
from rq_sched.model.states import FINAL, State
from rq_sched.store.keys import Keys

WAITING = frozenset({State.PENDING, State.DELAYED, State.HELD})
NEEDED = (b"j", b"jn", b"n", b"c", b"t")


class Arrays:
    """The checks of one run. Set first: ``aging``."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.aging = 0.0

    def array(self, array_id: str) -> Op[str | None]:
        """The record of an array, its rest in the index of its state, and the sums of its elements."""
        keys, key = self.keys, self.keys.task(array_id)
        read: Command = ("HGETALL", key)
        before = _record((yield [read])[0])
        if b"j" not in before:
            return None  # it has gone meanwhile
        if missing := [name.decode() for name in NEEDED if name not in before]:
            return f"its record lacks {', '.join(missing)}"
        state = decoded(before.get(b"s", b"pending"))
        again, place, resting, live, runs, ended, length = yield [
            read,
            self._place(array_id, state, before),
            ("SISMEMBER", keys.arrays, array_id),
            ("SCARD", keys.live(array_id)),
            ("ZRANGE", keys.apart(array_id), 0, -1, "WITHSCORES"),
            ("ZSCORE", keys.finished("array"), array_id),
            ("STRLEN", keys.payload(array_id)),
        ]
        if _record(again) != before:
            return None
        if length != int(before.get(b"ax", 0)):
            return f"its arguments have {length} bytes, not {int(before.get(b'ax', 0))}"
        spans = [(int(first), int(last)) for last, first in pairs(runs)]
        return (
            self._rest(before, state, place, resting)
            or _sums(before, state, live, spans)
            or _ended(before, state, live, ended)
        )

    def _place(self, array_id: str, state: str, record: dict[bytes, bytes]) -> Command:
        if state == State.PENDING:
            return ("ZSCORE", self.keys.pending(decoded(record[b"c"])), arrays.unmade_member(array_id, record))
        return ("ZSCORE", self.keys.held if state == State.HELD else self.keys.delayed, array_id)

    def _rest(self, record: dict[bytes, bytes], state: str, place: Any, resting: int) -> str | None:
        """Where what isn't made waits."""
        left = arrays.unmade_count(record)
        if (left > 0) != (state in WAITING) or (left > 0) != bool(resting):
            return f"it is {state}, {left} of its elements aren't made; in arrays: {bool(resting)}"
        if (state in WAITING) != (place is not None):
            return f"it is {state}, its score in the index of that state is {place}"
        if state == State.PENDING:
            right = -int(record.get(b"p", 0)) + self.aging * int(record[b"t"]) / 3_600_000
            if abs(float(place) - right) > 1e-6:
                return f"its rest has score {float(place)}, not {right}"
        if state == State.DELAYED and number(place) != int(record.get(b"d", 0)):
            return f"it is due at {place}, not {record.get(b'd')!r}"
        return None

    def live(self, array_id: str, index: str) -> Op[str | None]:
        """A member of ``live:ARRAY`` is an element that hasn't ended."""
        found, (state, task_class) = yield [
            ("SISMEMBER", self.keys.live(array_id), index),
            ("HMGET", self.keys.task(f"{array_id}/{index}"), "s", "c"),
        ]
        if found and (task_class is None or decoded(state) in FINAL):
            return f"its element is {decoded(state) or 'not there'}"
        return None

    def listed(self, array_id: str) -> Op[str | None]:
        """A member of ``arrays`` is an array of which something isn't made."""
        found, flat = yield [("SISMEMBER", self.keys.arrays, array_id), ("HGETALL", self.keys.task(array_id))]
        record = _record(flat)
        if found and (b"j" not in record or not arrays.unmade_count(record)):
            return "nothing of it is left to be made"
        return None

    def owned(self, kind: str, array_id: str) -> Op[str | None]:
        """``live:ARRAY`` and ``apart:ARRAY`` have their array."""
        exists, known = yield [
            ("EXISTS", f"{self.keys.prefix}{kind}:{array_id}"),
            ("HEXISTS", self.keys.task(array_id), "j"),
        ]
        return "its array is gone" if exists and not known else None


def _record(flat: Any) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _sums(record: dict[bytes, bytes], state: str, live: int, runs: list[tuple[int, int]]) -> str | None:
    """What was made before its turn, and all elements together."""
    first, last = arrays.extent(record[b"j"])
    counted = arrays.elements(record, live)
    if sum(counted.values()) != last - first + 1:
        return f"its elements are {counted}, which isn't {last - first + 1} together"
    made_early = sum(end - begin + 1 for begin, end in runs)
    if b"jx" not in record:
        right, said = made_early, int(record.get(b"ja", 0))
        what = f"{right} were made before their turn, its record says {said}"
    else:
        cut = int(record[b"jx"])
        right = last - cut + 1 - sum(end - max(begin, cut) + 1 for begin, end in runs if end >= cut)
        said = int(record.get(b"jv", 0))
        what = f"{right} were cancelled and have no record, its record says {said}"
    return what if said != right else None


def _ended(record: dict[bytes, bytes], state: str, live: int, ended: Any) -> str | None:
    """Whether it has ended when its elements have."""
    over = not live and not arrays.unmade_count(record)
    if over != (state in FINAL) or over != (b"F" in record):
        return f"it is {state}; {live} of its elements go on"
    without = int(record.get(b"jv", 0)) + int(record.get(b"jfo", 0))
    bare = over and without == arrays.size(decoded(record[b"j"]))
    right = int(record[b"F"]) if bare else None
    if number(ended) != right:
        return f"its score in finished:array is {number(ended)}, not {right}"
    return None
