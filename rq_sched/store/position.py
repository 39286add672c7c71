"""How many pending tasks come before a place in their order. Nothing here writes.

The cost is bounded: entries of queues are counted by scripts, 32 classes a call and ``AHEAD_CLASSES`` at most; what
the entries of arrays stand for is worked out from the records of ``ARRAYS`` arrays at most, and ``EARLY_RUNS`` runs of
each. Beyond that the count is a least one, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rq_sched.link import Command, Op
from rq_sched.model.arrays import SEQUENCE, index_at, unmade_count, unmade_member
from rq_sched.model.classes import group_of
from rq_sched.model.fit import Place
from rq_sched.model.reading import real, text, whole
from rq_sched.store.reads import ARRAYS, Reads

AHEAD_BATCH = 32
"""Classes that one script call counts in."""
AHEAD_CLASSES = 16_384
"""Classes that are counted in at most: of a namespace with more, ``ahead`` says how many there are at least."""
EARLY_RUNS = 1000
"""Runs of elements made before their turn that are read of one array."""


def ahead(reads: Reads, place: Place) -> Op[tuple[int, bool]]:
    """How many pending tasks come before a place, over all classes; False: at least so many."""
    more, all_arrays = yield from _rests_ahead(reads, place)
    score = repr(place.score)
    members = (yield [("ZRANGE", reads.keys.groups, 0, -1)])[0]
    groups = list(dict.fromkeys(group for member in members if (group := group_of(member[SEQUENCE:]))))
    sizes = yield from reads.rows([("ZCOUNT", reads.keys.classes(group), "-inf", score) for group in groups])
    sizes = [size or 0 for size in sizes]
    batches: list[tuple[str, int, int]] = []
    left = AHEAD_CLASSES
    for group, size in zip(groups, sizes, strict=True):
        for start in range(0, min(size, left), AHEAD_BATCH):
            batches.append((group, start, min(AHEAD_BATCH, min(size, left) - start)))
        left -= min(size, left)
    entries = yield from count_ahead(reads, place, batches)
    return entries + more, sum(sizes) <= AHEAD_CLASSES and all_arrays


def _rests_ahead(reads: Reads, place: Place) -> Op[tuple[int, bool]]:
    """For how many more tasks than one each the rests of arrays stand that come before a place; False: at least."""
    arrays = yield from reads.resting()
    pending = [(a, record) for a, record in arrays.items() if record[b"state"] == b"pending"]
    scores = yield from reads.rows(
        [("ZSCORE", reads.keys.pending(text(record[b"class"])), unmade_member(a, record)) for a, record in pending]
    )
    ahead, exact = 0, len(arrays) < ARRAYS
    for (array_id, record), score in zip(pending, scores, strict=True):
        if score is None or real(score) > place.score:
            continue
        if real(score) < place.score:
            ahead += unmade_count(record) - 1
        else:
            some, all_ = yield from _elements_before(reads, array_id, record, index_at(record, place.sequence))
            ahead += max(0, some - 1)
            exact = exact and all_
    return ahead, exact


def _elements_before(reads: Reads, array_id: str, record: Mapping[bytes, bytes], index: int) -> Op[tuple[int, bool]]:
    """How many elements before this one aren't made yet; False: at least so many."""
    begin = int(record[b"next"])
    if not int(record.get(b"apart", 0)) or index <= begin:
        return index - begin, True
    command: Command = ("ZRANGEBYSCORE", reads.keys.apart(array_id), "-inf", f"({index}", "LIMIT", 0, EARLY_RUNS,
                        "WITHSCORES")  # fmt: skip
    runs = (yield [command])[0]
    all_ = len(runs) < 2 * EARLY_RUNS
    end = index if all_ else whole(runs[-2]) + 1
    made_early = sum(
        max(0, min(whole(last) + 1, end) - whole(first)) for last, first in zip(runs[::2], runs[1::2], strict=True)
    )
    return end - begin - made_early, all_


def count_ahead(reads: Reads, place: Place, batches: Sequence[tuple[str, int, int]]) -> Op[int]:
    """How many tasks come before a place, of some classes: (group, rank of the first, how many)."""
    calls: list[list[str | int]] = []
    size = AHEAD_BATCH
    for group, start, count in batches:
        if size + count > AHEAD_BATCH:
            calls.append([])
            size = 0
        calls[-1] += (group, start, count)
        size += count
    if not calls:
        return 0
    return sum((yield [reads.call("task_ahead", repr(place.score), place.sequence, *call) for call in calls]))
