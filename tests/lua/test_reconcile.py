"""What Redis believes of a node, and what the node's agent says of it."""

from __future__ import annotations

import random

from rq_sched.model.orders import LedgerEntry, Start, digest
from rq_sched.model.resources import Resources
from tests.lua.cell import ON_A_SERVER, Cell


def entries(starts: dict[str, Start], **marks: str) -> list[LedgerEntry]:
    """The ledger as an agent knows it that has got these orders."""
    return [
        LedgerEntry(start.token, task_id, start.allocation, marks.get(task_id, "a"))
        for task_id, start in starts.items()
    ]


def agrees(cell: Cell, held: list[LedgerEntry], acked: int | None = None) -> bool | None:
    acked = cell.acked["a"] if acked is None else acked
    return cell.run(cell.store.node_heartbeat("a", "1", acked=acked, digest=digest(held))).agrees


def test_both_sides_compute_the_same_digest(cell: Cell) -> None:
    cell.node("a", 64, 65536)
    assert agrees(cell, [])
    tasks = cell.submit(*(f"t{n}" for n in range(40)), cpu=1) and [f"t{n}" for n in range(40)]
    cell.place()
    starts = cell.starts("a") | cell.starts("a")  # more than one reply holds
    assert sorted(starts) == sorted(tasks)
    cell.started("a", starts["t3"])
    cell.run(cell.store.cancel("t4"))
    cell.stops("a")
    held = entries(starts, t3="r", t4="s")
    random.shuffle(held)
    assert agrees(cell, held)
    assert not agrees(cell, held[1:])
    assert not agrees(cell, [])
    cell.finish("a", starts["t5"])
    assert not agrees(cell, held)
    assert agrees(cell, [entry for entry in held if entry.task_id != "t5"])


def test_every_difference_is_noticed(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t1", "t2")
    cell.place()
    one, two = entries(cell.starts("a"))
    for other in (
        LedgerEntry(one.token, "t2", one.allocation, "a"),
        LedgerEntry("0.1.1", "t1", one.allocation, "a"),
        LedgerEntry(one.token, "t1", Resources(2, 100), "a"),
        LedgerEntry(one.token, "t1", Resources(1, 101), "a"),
        LedgerEntry(one.token, "t1", one.allocation, "r"),
    ):
        assert agrees(cell, [other, two]) is False, other
    assert agrees(cell, [one, two])


def test_nothing_is_compared_while_orders_are_on_their_way(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t1")
    cell.place()
    assert agrees(cell, []) is None
    starts = cell.starts("a")
    assert agrees(cell, entries(starts), acked=0) is None
    assert agrees(cell, entries(starts))
    assert cell.run(cell.store.node_heartbeat("a", "1", acked=1)).agrees is None  # it doesn't say


@ON_A_SERVER
def test_the_ledger_is_read_in_batches(cell: Cell) -> None:
    cell.node("a", 700, 70000)
    cell.submit(*(f"t{n}" for n in range(640)), cpu=1)
    cell.place()
    found: list[LedgerEntry] = []
    cursor, batches = "", 0
    while cursor != "0":
        ledger = cell.run(cell.store.node_ledger("a", "1", cursor or "0"))
        cursor, batches = ledger.cursor, batches + 1
        assert ledger.ordered == 640
        assert len(ledger.entries) < 200
        found += ledger.entries
    assert batches > 3
    assert {entry.task_id for entry in found} == {f"t{n}" for n in range(640)}
    assert sorted(entry.number for entry in found) == list(range(1, 641))


def test_a_token_that_was_given_to_another_task_reports_nothing(cell: Cell) -> None:
    """A placing call that is sent again after a failover uses its nonce twice: the token may mean another task."""
    cell.node("a")
    cell.submit("t1", "t2")
    cell.place()
    starts = cell.starts("a")
    wrong = starts["t1"]
    wrong.task_id = "t2"
    assert cell.finish("a", wrong)[0] == "stale"
    assert cell.state("t1") == "assigned"
