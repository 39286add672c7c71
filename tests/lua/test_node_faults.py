"""A fault of its machine keeps a node from beginning tasks (``node_fault``). It and a drain are two things."""

from __future__ import annotations

import pytest

from rq_sched.errors import StaleIncarnation
from rq_sched.model.node import NodeState
from rq_sched.model.states import Reason, State
from tests.lua.cell import Cell

GONE = "its folder /srv/job is gone"


def fault(cell: Cell, node_id: str = "a", text: str = GONE, incarnation: str = "1") -> NodeState:
    return cell.run(cell.store.node_fault(node_id, incarnation, text))


def said(cell: Cell) -> list[tuple[str, str | None, str | None]]:
    """What the decision log says of faults."""
    events = cell.run(cell.store.events())
    return [(e.type, e.node_id, e.data.get("reason")) for e in events if e.type in ("faulty", "recovered")]


def test_a_node_with_a_fault_gets_nothing_and_says_why(cell: Cell) -> None:
    cell.node("a", 2)
    assert fault(cell) is NodeState.FAULTY
    cell.submit("t1")
    assert cell.place() == 0
    node = cell.run(cell.store.node("a"))
    assert (node.state, node.fault) == (NodeState.FAULTY, GONE)
    assert cell.run(cell.store.explain("t1")).faults == {"a": GONE}
    assert cell.info("t1").reason == Reason.NO_NODES
    assert cell.run(cell.store.info()).faults == {"a": GONE}
    assert fault(cell, text="") is NodeState.UP
    assert cell.place() == 1
    assert cell.run(cell.store.node("a")).fault is None
    assert said(cell) == [("faulty", "a", GONE.replace(" ", "_")), ("recovered", "a", None)]


def test_told_again_it_changes_nothing(cell: Cell) -> None:
    cell.node("a")
    for _ in range(3):
        assert fault(cell) is NodeState.FAULTY
    assert fault(cell, text="no more processes") is NodeState.FAULTY
    assert cell.run(cell.store.node("a")).fault == "no more processes"
    for _ in range(3):
        assert fault(cell, text="") is NodeState.UP
    assert [kind for kind, _, _ in said(cell)] == ["faulty", "recovered"]


def test_what_runs_goes_on_and_what_has_not_begun_goes_back_at_no_cost(cell: Cell) -> None:
    cell.node("a", 2)
    cell.submit("t1", "t2", "t3")
    cell.place()
    starts = cell.starts("a")
    cell.started("a", starts["t1"])
    fault(cell)
    assert cell.finish("a", starts["t2"], "returned") == ("recorded", {})
    assert cell.finish("a", starts["t1"]) == ("recorded", {})
    assert [e[2] for e in cell.run(cell.store.pending_in_order(9))] == ["t2", "t3"]
    info = cell.info("t2")
    assert (info.crashes, info.retries_left, info.state) == (0, 0, State.PENDING)


def test_neither_a_fault_nor_a_drain_ends_the_other(cell: Cell) -> None:
    cell.node("a")
    fault(cell)
    assert cell.run(cell.store.node_drain("a")) is NodeState.DRAINING
    assert cell.run(cell.store.node_undrain("a")) is NodeState.FAULTY
    cell.submit("t1")
    assert cell.place() == 0
    cell.run(cell.store.node_drain("a"))
    assert fault(cell, text="") is NodeState.DRAINING
    assert cell.place() == 0
    assert fault(cell) is NodeState.DRAINING
    assert cell.run(cell.store.node("a")).fault == GONE
    fault(cell, text="")
    assert cell.run(cell.store.node_undrain("a")) is NodeState.UP
    assert cell.place() == 1


def test_a_fault_ends_with_its_incarnation_and_a_drain_does_not(cell: Cell) -> None:
    cell.node("a")
    fault(cell)
    cell.run(cell.store.node_drain("a"))
    cell.run(cell.store.node_leave("a", "1"))
    assert cell.run(cell.store.node("a")).fault is None
    cell.node("a", incarnation="2")
    node = cell.run(cell.store.node("a"))
    assert (node.state, node.fault) == (NodeState.DRAINING, None)
    with pytest.raises(StaleIncarnation):
        fault(cell)


def test_a_reserved_node_loses_its_reservation(cell: Cell) -> None:
    cell.node("a", 4)
    cell.node("b", 4)
    cell.submit("u", "v", cpu=3)
    cell.place()
    cell.submit("large", cpu=4)
    cell.run(cell.store.reserve())
    cell.now += 60_000
    kept = cell.run(cell.store.reserve())
    assert (kept.kept_for, kept.node_id is None) == ("large", False)
    fault(cell, kept.node_id or "")
    assert cell.run(cell.store.node(kept.node_id or "")).state is NodeState.FAULTY
    cell.run(cell.store.reserve())
    cell.now += 60_000
    again = cell.run(cell.store.reserve())
    assert again.kept_for == "large"
    assert again.node_id not in (None, kept.node_id)


def test_a_node_with_labels_leaves_their_indexes_and_comes_back(cell: Cell) -> None:
    cell.node("a", labels=("gpu", "ssd"))
    fault(cell)
    cell.submit("t1", require=["gpu"])
    assert cell.place() == 0
    fault(cell, text="")
    assert cell.place() == 1
