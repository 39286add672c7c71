"""A feature is used only where every process that lives knows it; from then on who doesn't isn't let in."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.errors import FeatureMissing
from rq_sched.link import Op
from rq_sched.model import schema
from rq_sched.model.resources import Resources
from rq_sched.model.task import TaskRequest
from tests.lua.cell import Cell

KNOWN = "+jam+schedules"
"""What this code knows then."""
SIZE = Resources(1, 100)


@pytest.fixture
def knows(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This code knows a feature, ``jam``, which preemptible tasks need. (Before ``cell``, which looks at the end.)"""
    monkeypatch.setitem(schema.FEATURES, "jam", lambda request: request.preemptible)
    return monkeypatch


def ask(cell: Cell, **fields: Any) -> list[str]:
    return cell.run(cell.store.submit([TaskRequest("m:f", **fields).check()]))


def forget(knows: pytest.MonkeyPatch) -> None:
    """From here on this code is an older one."""
    knows.delitem(schema.FEATURES, "jam")


def in_use(cell: Cell) -> Any:
    def read() -> Op[Any]:
        return (yield [("HGET", cell.store.keys.settings, "features")])[0]

    return cell.run(read())


def test_what_needs_no_feature_asks_nothing(knows: pytest.MonkeyPatch, cell: Cell) -> None:
    cell.node("old")
    assert ask(cell) == ["new"]
    assert in_use(cell) is None


def test_a_worker_that_lacks_it_is_named_and_nothing_is_submitted(knows: pytest.MonkeyPatch, cell: Cell) -> None:
    forget(knows)
    cell.node("old")
    knows.setitem(schema.FEATURES, "jam", lambda request: request.preemptible)
    cell.node("young")
    with pytest.raises(FeatureMissing, match="the worker of node old does not know jam"):
        ask(cell, task_id="t1", preemptible=True)
    assert cell.run(cell.store.states(["t1"])) == [None]
    assert in_use(cell) is None
    cell.run(cell.store.node_leave("old", "1"))
    assert ask(cell, task_id="t1", preemptible=True) == ["new"]
    assert in_use(cell) == b"+jam"


def test_a_scheduler_that_lacks_it_is_named_as_long_as_it_lives(knows: pytest.MonkeyPatch, cell: Cell) -> None:
    forget(knows)
    cell.run(cell.store.sweep(scheduler="box:17"))
    knows.setitem(schema.FEATURES, "jam", lambda request: request.preemptible)
    cell.now += 4_000
    with pytest.raises(
        FeatureMissing, match="scheduler box:17 does not know jam: stop it, or start it anew with a newer"
    ):
        ask(cell, preemptible=True)
    cell.now += 1_000
    with pytest.raises(FeatureMissing, match="no worker or scheduler is here that knows jam: start one first"):
        ask(cell, preemptible=True)
    cell.run(cell.store.sweep(scheduler="box:18"))
    assert ask(cell, preemptible=True) == ["new"]


def test_who_does_not_know_what_is_in_use_is_not_let_in(knows: pytest.MonkeyPatch, cell: Cell) -> None:
    cell.run(cell.store.sweep(scheduler="young:1"))
    assert cell.run(cell.store.use_feature("jam"))
    assert not cell.run(cell.store.use_feature("jam"))
    cell.node("young")
    forget(knows)
    with pytest.raises(FeatureMissing, match="this process does not know jam, which is in use in this namespace"):
        cell.run(cell.store.sweep(scheduler="old:1"))
    with pytest.raises(FeatureMissing, match="install a newer rq-sched here"):
        cell.run(cell.store.node_register("old", "1", SIZE))
    assert cell.run(cell.store.node("young"))
    assert [node.node_id for node in cell.run(cell.store.nodes())] == ["young"]
    knows.setitem(schema.FEATURES, "jam", lambda request: False)  # for the check at the end


def test_several_are_in_use_beside_each_other(knows: pytest.MonkeyPatch, cell: Cell) -> None:
    knows.setitem(schema.FEATURES, "ham", lambda request: False)
    cell.node("young")
    assert cell.run(cell.store.use_feature("jam"))
    assert cell.run(cell.store.use_feature("ham"))
    assert in_use(cell) == b"+jam+ham"
    assert [process.knows for process in cell.run(cell.store.processes())] == [f"{schema.SCHEMA}+ham+jam+schedules"]


def test_who_lives_is_told(knows: pytest.MonkeyPatch, cell: Cell) -> None:
    cell.node("a", ttl=10)
    cell.run(cell.store.sweep(scheduler="box:17"))
    cell.run(cell.store.sweep())
    assert [tuple(one) for one in cell.run(cell.store.processes())] == [
        ("worker", "a", f"{schema.SCHEMA}{KNOWN}"),
        ("scheduler", "box:17", f"{schema.SCHEMA}{KNOWN}"),
    ]
    cell.now += 5_000
    assert [one.kind for one in cell.run(cell.store.processes())] == ["worker"]
    cell.now += 5_000
    assert cell.run(cell.store.processes()) == []
    cell.run(cell.store.sweep(scheduler="box:18"))
    assert [one.name for one in cell.run(cell.store.processes())] == ["box:18"]
