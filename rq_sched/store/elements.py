"""Which elements of an array have been made."""

from __future__ import annotations

from rq_sched.link import Op
from rq_sched.model.reading import whole
from rq_sched.store.keys import Keys


def made_stretches(keys: Keys, array_id: str, first: int, last: int) -> Op[tuple[list[tuple[int, int]], bool]]:
    """From which index to which the elements of an array were made: in their turn, then before it; and whether some
    were cancelled without."""
    (begun, cut), runs = yield [
        ("HMGET", keys.array(array_id), "next", "cut"),
        ("ZRANGE", keys.apart(array_id), 0, -1, "WITHSCORES"),
    ]
    in_turn = (first, min(last, whole(cut or begun, first) - 1))
    before = [(whole(begin), min(whole(end, -1), last)) for end, begin in zip(runs[::2], runs[1::2], strict=True)]
    return [in_turn, *before], cut is not None
