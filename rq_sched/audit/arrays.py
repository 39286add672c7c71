"""Checks at arrays: what isn't made, what is made and goes on, and what has ended make up the whole."""

from __future__ import annotations

from typing import Any

from rq_sched.audit.reads import BATCH, decoded, number, pairs, rows
from rq_sched.link import Command, Op, Row
from rq_sched.model import arrays
from rq_sched.model.states import FINAL, State
from rq_sched.store.keys import Keys
from rq_sched.store.parts import Record, answered, asked, with_array

WAITING = frozenset({State.PENDING, State.DELAYED, State.HELD, State.WAITING})
NEEDED = (b"array", b"next", b"turn", b"class", b"at")


class Arrays:
    """The checks of one run. Set first: ``aging``."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.aging = 0.0

    def read(self, array_id: str, *more: Command) -> Op[tuple[Record, list[Any]]]:
        """The record of an array, and the replies to more reads at the same time."""
        parts = asked(self.keys, [array_id])
        replies = yield [*parts, ("HGETALL", self.keys.array(array_id)), *more]
        (record,) = answered([array_id], replies[: len(parts)])
        return with_array(record, replies[len(parts)]) if record else {}, replies[len(parts) + 1 :]

    def array(self, array_id: str) -> Op[tuple[str | None, bool]]:
        """The record of an array, its rest in the index of its state, and the sums of its elements: what is wrong, and
        whether it waits in its queue."""
        before, _ = yield from self.read(array_id)
        if b"array" not in before:
            return None, False  # it has gone meanwhile
        if missing := [name.decode() for name in NEEDED if name not in before]:
            return f"its record lacks {', '.join(missing)}", False
        state = decoded(before[b"state"])
        problem = yield from self._whole(array_id, state, before)
        return problem, not problem and state == State.PENDING

    def _whole(self, array_id: str, state: str, before: Record) -> Op[str | None]:
        keys = self.keys
        again, (place, resting, live, runs, ended, length, expires) = yield from self.read(
            array_id,
            self._place(array_id, state, before),
            ("SISMEMBER", keys.arrays, array_id),
            ("SCARD", keys.live(array_id)),
            ("ZRANGE", keys.apart(array_id), 0, -1, "WITHSCORES"),
            ("ZSCORE", keys.finished("array"), array_id),
            ("STRLEN", keys.payload(array_id)),
            ("ZSCORE", keys.expiring, array_id),
        )
        if again != before:
            return None
        if length != int(before.get(b"payload", 0)):
            return f"its arguments have {length} bytes, not {int(before.get(b'payload', 0))}"
        spans = [(int(first), int(last)) for last, first in pairs(runs)]
        return (
            self._rest(before, state, place, resting)
            or _deadline(before, expires)
            or _sums(before, state, live, spans)
            or _ended(before, state, live, ended)
        )

    def _place(self, array_id: str, state: str, record: Record) -> Command:
        if state == State.PENDING:
            return ("ZSCORE", self.keys.pending(decoded(record[b"class"])), arrays.unmade_member(array_id, record))
        aside = {State.HELD: self.keys.held, State.WAITING: self.keys.waiting}.get(State(state), self.keys.delayed)
        return ("ZSCORE", aside, array_id)

    def _rest(self, record: Record, state: str, place: Any, resting: int) -> str | None:
        """Where what isn't made waits."""
        left = arrays.unmade_count(record)
        if (left > 0) != (state in WAITING) or (left > 0) != bool(resting):
            return f"it is {state}, {left} of its elements aren't made; in arrays: {bool(resting)}"
        if (state in WAITING) != (place is not None):
            return f"it is {state}, its score in the index of that state is {place}"
        if state == State.PENDING:
            right = -int(record.get(b"priority", 0)) + self.aging * int(record[b"at"]) / 3_600_000
            if abs(float(place) - right) > 1e-6:
                return f"its rest has score {float(place)}, not {right}"
        if state == State.DELAYED and number(place) != int(record.get(b"due", 0)):
            return f"it is due at {place}, not {record.get(b'due')!r}"
        return None

    def live(self, array_id: str, index: str) -> Op[str | None]:
        """A member of ``live:ARRAY`` is an element that hasn't ended."""
        element = f"{array_id}/{index}"
        *parts, found = yield [*asked(self.keys, [element]), ("SISMEMBER", self.keys.live(array_id), index)]
        (record,) = answered([element], parts)
        if found and (not record or b"class" not in record or decoded(record[b"state"]) in FINAL):
            return f"its element is {decoded(record[b'state']) if record else 'not there'}"
        return None

    def entry(self, index: str, state: str, member: str, array_id: str) -> Op[str | None]:
        """An entry of an index of states that is an array's."""
        record, (found,) = yield from self.read(array_id, ("ZSCORE", index, member))
        if found is None or b"array" not in record:
            return None
        is_state = decoded(record[b"state"])
        if state == "array":
            return None if is_state in FINAL else f"its task is {is_state}"
        if is_state != state:
            return f"its task is {is_state}"
        if is_state in FINAL:
            return "its task is an array: one that has ended stands in finished:array, if anywhere"
        place = self._place(array_id, is_state, record)
        return None if place == ("ZSCORE", index, member) else f"its task has its place at {place[1:]}"

    def listed(self, array_id: str) -> Op[str | None]:
        """A member of ``arrays`` is an array of which something isn't made."""
        record, (found,) = yield from self.read(array_id, ("SISMEMBER", self.keys.arrays, array_id))
        if found and (b"array" not in record or not arrays.unmade_count(record)):
            return "nothing of it is left to be made"
        return None

    def deadline(self, array_id: str) -> Op[str | None]:
        """An entry of expiring that is an array's."""
        record, (found,) = yield from self.read(array_id, ("ZSCORE", self.keys.expiring, array_id))
        if found is not None and b"array" in record and not arrays.unmade_count(record):
            return "nothing of it is left to be made"
        return None

    def owned(self, kind: str, array_id: str) -> Op[str | None]:
        """``live:ARRAY``, ``apart:ARRAY`` and ``array:ARRAY`` have their array."""
        record, (exists,) = yield from self.read(array_id, ("EXISTS", f"{self.keys.prefix}{kind}:{array_id}"))
        return "its array is gone" if exists and b"array" not in record else None


def resting(keys: Keys) -> Op[int]:
    """For how many tasks the rests of arrays in the queues stand, beyond one each."""
    ids = [decoded(one) for one in (yield from rows([("SMEMBERS", keys.arrays)]))[0] or ()]
    more = 0
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        records = answered(batch, (yield [Row(command) for command in asked(keys, batch)]))
        changes = yield from rows([("HGETALL", keys.array(one)) for one in batch])
        for record, of_array in zip(records, changes, strict=True):
            array = with_array(record, of_array or ()) if record else {}
            if array.get(b"state") == b"pending" and arrays.is_countable(array):
                more += arrays.unmade_count(array) - 1
    return more


def _deadline(record: Record, found: Any) -> str | None:
    """Where its deadline stands, while something of it isn't made."""
    right = int(record[b"expires"]) if b"expires" in record and arrays.unmade_count(record) else None
    return None if number(found) == right else f"its deadline in expiring is {number(found)}, not {right}"


def _sums(record: Record, state: str, live: int, runs: list[tuple[int, int]]) -> str | None:
    """What was made before its turn, and all elements together."""
    first, last = arrays.extent(record[b"array"])
    counted = arrays.elements(record, live)
    if sum(counted.values()) != last - first + 1:
        return f"its elements are {counted}, which isn't {last - first + 1} together"
    made_early = sum(end - begin + 1 for begin, end in runs)
    if b"cut" not in record:
        right, said = made_early, int(record.get(b"apart", 0))
        what = f"{right} were made before their turn, its record says {said}"
    else:
        cut = int(record[b"cut"])
        right = last - cut + 1 - sum(end - max(begin, cut) + 1 for begin, end in runs if end >= cut)
        said = int(record.get(b"unmade", 0))
        what = f"{right} were cancelled and have no record, its record says {said}"
    return what if said != right else None


def _ended(record: Record, state: str, live: int, ended: Any) -> str | None:
    """Whether it has ended when its elements have."""
    over = not live and not arrays.unmade_count(record)
    if over != (state in FINAL) or over != (b"finished" in record):
        return f"it is {state}; {live} of its elements go on"
    without = int(record.get(b"unmade", 0)) + int(record.get(b"forgotten", 0))
    bare = over and without == arrays.size(decoded(record[b"array"]))
    right = int(record[b"finished"]) if bare else None
    if number(ended) != right:
        return f"its score in finished:array is {number(ended)}, not {right}"
    return None
