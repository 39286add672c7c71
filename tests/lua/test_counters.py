"""Sequences have room for 2⁵² tasks, and are checked: what would go beyond is refused."""

from __future__ import annotations

import pytest

from rq_sched.errors import CounterFull
from rq_sched.link import Op
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.schema import SCHEMA
from rq_sched.model.states import State
from tests.lua.cell import Cell

LAST = 2**52 - 1


def sequences_begin_at(cell: Cell, number: int) -> None:
    """The next one is the one after this."""

    def op() -> Op[None]:
        settings = ("HSET", cell.store.keys.settings, "schema", SCHEMA)  # as whoever took the others has left it
        yield [("SET", cell.store.keys.seq, number), settings]

    cell.run(op())


def taken(cell: Cell) -> int:
    def op() -> Op[int]:
        return int((yield [("GET", cell.store.keys.seq)])[0])

    return cell.run(op())


def test_the_last_sequences_are_as_good_as_the_first(cell: Cell) -> None:
    sequences_begin_at(cell, LAST - 12)
    cell.submit("a", "b")
    cell.submit("sweep", array="5-9")
    cell.submit("c", *(f"t{n}" for n in range(4)))
    assert taken(cell) == LAST
    cell.node("n", cpu=20, memory=10_000)
    assert cell.place() == 12
    assert list(cell.starts("n")) == ["a", "b", *(f"sweep/{i}" for i in range(5, 10)), "c", "t0", "t1", "t2", "t3"]


def test_what_would_go_beyond_is_refused_and_nothing_is_taken(cell: Cell) -> None:
    sequences_begin_at(cell, LAST - 3)
    with pytest.raises(CounterFull, match="another --namespace"):
        cell.submit("sweep", array="1-4")
    with pytest.raises(CounterFull):
        cell.submit("a", "b", "c", "d")
    assert taken(cell) == LAST - 3
    assert cell.state("sweep") is None
    assert cell.state("a") is None
    assert cell.submit("a", "b", "c") == ["new"] * 3
    assert taken(cell) == LAST


def test_what_is_here_still_ends_when_there_are_none_left(cell: Cell) -> None:
    """A new place in the order can't be had then: who asks for one is refused, an end goes back to its old place."""
    cell.node("n", cpu=1)
    cell.submit("runs", "waits", "ended")
    cell.submit("sweep", array="1-3")
    cell.run(cell.store.cancel("ended", requeue=False))
    cell.place()
    start = cell.starts("n")["runs"]
    cell.started("n", start)
    sequences_begin_at(cell, LAST)
    for op in (
        cell.store.cancel("waits"),
        cell.store.cancel("sweep"),
        cell.store.cancel("sweep/2"),
        cell.store.requeue("ended"),
    ):
        with pytest.raises(CounterFull):
            cell.run(op)
    assert cell.state("waits") is State.PENDING
    assert cell.state("ended") is State.CANCELLED
    cell.run(cell.store.cancel("runs"))
    assert cell.finish("n", cell.stops("n")["runs"], "stopped")[0] == "recorded"
    assert cell.state("runs") is State.ASSIGNED  # again the first in order
    assert taken(cell) == LAST


def test_a_submit_of_what_is_here_takes_none(cell: Cell) -> None:
    cell.submit("a")
    before = taken(cell)
    assert cell.submit("a", "a") == ["same"] * 2
    assert cell.submit("a", priority=1) == ["conflict"]
    assert cell.submit("a", "b") == ["same", "new"]
    assert taken(cell) == before + 1


def test_many_large_arrays_leave_room(cell: Cell) -> None:
    """110,000 arrays of 10,000,000 elements were once more than there were sequences."""
    sequences_begin_at(cell, 110_000 * 10_000_000)
    cell.submit("late", array="0-9999999", delay=1.0)
    cell.submit("a", "b")
    cell.node("n", cpu=2)
    cell.place()
    assert list(cell.starts("n")) == ["a", "b"]
    assert 16**SEQUENCE == LAST + 1
