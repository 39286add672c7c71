"""A refusal (``not_allowed``, ``not_found``) is the answer of one registration of one node.

The task goes where nobody has refused it yet, and only then fails."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.model.orders import Start
from rq_sched.model.states import Reason, State
from tests.lua.cell import Cell


def refuse(
    cell: Cell, node_id: str, start: Start, why: str = "no module m", incarnation: str = "1", **report: Any
) -> dict[str, Start]:
    """The node refuses an attempt; what it gets instead."""
    reason = report.pop("reason", Reason.NOT_FOUND)
    return cell.finish(node_id, start, "failed", incarnation, reason=str(reason), error=why, **report)[1]


def test_it_goes_where_nobody_has_refused_it(cell: Cell) -> None:
    cell.node("a", 2)
    cell.submit("t1")
    cell.place()
    cell.node("b", 2)
    assert refuse(cell, "a", cell.starts("a")["t1"]) == {}
    info = cell.info("t1")
    assert (info.state, info.crashes, info.retries_left, info.refused) == (State.PENDING, 0, 0, ["a:1"])
    assert cell.place() == 1
    assert cell.info("t1").node_id == "b"
    cell.finish("b", cell.starts("b")["t1"])
    assert cell.info("t1").state is State.COMPLETED


@pytest.mark.parametrize("reason", [Reason.NOT_FOUND, Reason.NOT_ALLOWED])
def test_when_all_have_refused_it_fails_with_all_their_reasons(cell: Cell, reason: Reason) -> None:
    cell.node("a", 1)
    cell.submit("t1", retries=5)
    cell.place()
    cell.node("b", 1)
    refuse(cell, "a", cell.starts("a")["t1"], "no module m\n on a", reason=Reason.NOT_FOUND)
    cell.place()
    refuse(cell, "b", cell.starts("b")["t1"], "may not", reason=reason)
    info = cell.info("t1")
    assert (info.state, info.reason, info.attempt, info.retries_left) == (State.FAILED, reason, 2, 5)
    assert info.error == "a: no module m on a\nb: may not"
    assert cell.run(cell.store.explain("t1")).refusals == {"a": "no module m on a"}


def test_where_there_is_one_node_it_fails_at_once(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t1", retries=3)
    cell.place()
    refuse(cell, "a", cell.starts("a")["t1"], "no module m")
    info = cell.info("t1")
    assert (info.state, info.reason, info.error, info.refused) == (State.FAILED, Reason.NOT_FOUND, "no module m", [])


@pytest.mark.parametrize(
    "other",
    [{"cpu": 1}, {"memory": 50}, {"labels": ("ssd",)}],
)
def test_nodes_that_could_not_hold_it_are_not_waited_for(cell: Cell, other: dict[str, Any]) -> None:
    cell.node("a", labels=("gpu",))
    cell.node("b", **other)
    cell.submit("t1", cpu=2, require=["gpu"])
    cell.place()
    refuse(cell, "a", cell.starts("a")["t1"])
    assert cell.info("t1").state is State.FAILED


def test_a_node_that_takes_no_tasks_just_now_is_waited_for(cell: Cell) -> None:
    cell.node("a")
    cell.node("b", 2)
    cell.run(cell.store.node_fault("b", "1", "no disk"))
    cell.submit("t1")
    cell.place()
    refuse(cell, "a", cell.starts("a")["t1"])
    assert cell.place() == 0
    found = cell.run(cell.store.explain("t1"))
    assert (found.state, found.reason, found.refusing, found.faults) == (
        State.PENDING, Reason.INFEASIBLE, 1, {"b": "no disk"},
    )  # fmt: skip
    assert found.refusals == {"a": "no module m"}
    cell.run(cell.store.node_fault("b", "1", ""))
    assert cell.place() == 1


def test_a_dead_node_is_not_waited_for(cell: Cell) -> None:
    cell.node("a")
    cell.node("b")
    cell.run(cell.store.node_leave("b", "1"))
    cell.submit("t1")
    cell.place()
    refuse(cell, "a", cell.starts("a")["t1"])
    assert cell.info("t1").state is State.FAILED


def test_it_blocks_nobody_and_keeps_its_place(cell: Cell) -> None:
    """Others of its class go on where it was refused; on another node it is still the first."""
    cell.node("a", 1)
    cell.submit("t1", "t2", "t3")
    cell.place()
    cell.node("b", 1)
    cell.submit("long", priority=9)
    cell.place()
    assert set(cell.starts("b")) == {"long"}
    assert set(refuse(cell, "a", cell.starts("a")["t1"])) == {"t2"}
    stops = cell.run(cell.store.node_ledger("b", "1")).entries
    assert [entry.task_id for entry in stops] == ["long"]
    cell.node("c", 1)
    cell.place()
    assert set(cell.starts("c")) == {"t1"}


def test_who_is_registered_anew_is_asked_again(cell: Cell) -> None:
    cell.node("a", 1)
    cell.node("b", 2)
    cell.run(cell.store.node_drain("b"))
    cell.submit("t1")
    cell.place()
    refuse(cell, "a", cell.starts("a")["t1"])
    assert cell.place() == 0
    cell.run(cell.store.node_leave("a", "1"))
    cell.node("a", 1, incarnation="2")
    assert cell.place() == 1
    refuse(cell, "a", cell.starts("a", "2")["t1"], incarnation="2")
    assert cell.info("t1").refused == ["a:2"], "the first one says nothing any more"


def test_a_requeue_by_a_person_forgets_refusals(cell: Cell) -> None:
    cell.node("a", 1)
    cell.submit("t1")
    cell.place()
    cell.node("b", 1)
    refuse(cell, "a", cell.starts("a")["t1"])
    cell.place()
    refuse(cell, "b", cell.starts("b")["t1"])
    assert cell.info("t1").refused == ["a:1"]
    cell.run(cell.store.requeue("t1"))
    assert cell.info("t1").refused == []
    assert cell.place() == 1
    assert cell.run(cell.store.explain("t1")).refusals == {}


def test_elements_are_refused_one_by_one(cell: Cell) -> None:
    cell.node("a", 1)
    cell.submit("arr", array="1-3")
    cell.place()
    cell.node("b", 1)
    start = cell.starts("a")["arr/1"]
    assert set(refuse(cell, "a", start)) == {"arr/2"}
    cell.place()
    assert set(cell.starts("b")) == {"arr/1"}


def test_more_than_are_remembered(cell: Cell) -> None:
    for i in range(18):
        cell.node(f"n{i:02}", 1)
    cell.submit("t1")
    for attempt in range(1, 18):
        assert cell.place() == 1
        node_id = cell.info("t1").node_id or ""
        refuse(cell, node_id, cell.starts(node_id)["t1"], "x" * 1000)
        assert cell.info("t1").attempt == attempt
    info = cell.info("t1")
    assert (info.state, len(info.refused), len((info.error or "").splitlines())) == (State.FAILED, 16, 17)
    assert len(info.error or "") < 17 * 320


def test_a_node_is_kept_for_a_task_that_another_has_refused(cell: Cell) -> None:
    """Who has refused it isn't reserved for it, and preempts nobody for it."""
    cell.node("a", 4)
    cell.node("b", 4)
    cell.submit("u", cpu=4)
    cell.place()
    cell.submit("t1", cpu=4)
    cell.place()
    refuse(cell, "b", cell.starts("b")["t1"])
    assert cell.place() == 0, "only b is free"
    cell.run(cell.store.reserve())
    cell.now += 60_000
    kept = cell.run(cell.store.reserve())
    assert (kept.kept_for, kept.node_id) == ("t1", "a")
