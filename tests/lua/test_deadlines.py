"""Tasks that aren't to wait for ever: deadlines for their first start, and no node that could hold them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rq_sched import audit
from rq_sched.audit.mend import repair
from rq_sched.link import Link, Op
from rq_sched.model.states import Reason, State
from tests.faults.planted import run_with
from tests.lua.cell import Cell


def expire(cell: Cell) -> None:
    """As a scheduler's promoter does."""
    while cell.run(cell.store.promote()).promoted:
        pass
    while cell.run(cell.store.expire()):
        pass


def after(cell: Cell, seconds: float) -> None:
    cell.now += round(seconds * 1000)
    expire(cell)


def expired(cell: Cell, task_id: str) -> bool:
    info = cell.info(task_id)
    return info.state is State.FAILED and info.reason == Reason.EXPIRED


def test_a_task_fails_that_has_not_started_by_its_deadline(cell: Cell) -> None:
    cell.submit("late", deadline=10)
    cell.submit("patient")
    assert cell.run(cell.store.promote()).expires_in == 10
    assert cell.info("late").expires_at == (cell.now + 10_000) / 1000
    after(cell, 9.999)
    assert cell.state("late") is State.PENDING
    after(cell, 0.001)
    assert expired(cell, "late")
    assert cell.info("late").error == "it had not started by its deadline"
    assert cell.info("late").expires_at is None
    assert cell.state("patient") is State.PENDING
    assert cell.run(cell.store.promote()).expires_in is None


def test_one_that_is_on_a_node_or_was_is_left_alone(cell: Cell) -> None:
    cell.node("a")
    cell.submit("runs", "placed", deadline=10)
    cell.submit("tried", deadline=10, retries=1)
    cell.place()
    starts = cell.starts("a")
    cell.started("a", starts["runs"])
    cell.finish("a", starts["tried"], "failed", reason="error", error="no")
    after(cell, 100)
    assert cell.state("runs") is State.RUNNING
    assert cell.state("placed") is State.ASSIGNED
    assert cell.state("tried") is State.PENDING, "its retry has no deadline"
    cell.finish("a", starts["runs"])
    assert cell.info("runs").deadline == 10


def test_one_that_comes_back_without_having_started_still_has_its_deadline(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t1", "t2", deadline=10)
    cell.place()
    starts = cell.starts("a")
    cell.started("a", starts["t2"])
    cell.run(cell.store.node_leave("a", "1"))
    cell.run(cell.store.reap("a:1:left"))
    assert cell.state("t1") is State.PENDING
    after(cell, 10)
    assert expired(cell, "t1")
    assert cell.state("t2") is State.PENDING


@pytest.mark.parametrize("how", ["delayed", "held", "waiting"])
def test_it_holds_in_every_state_in_which_a_task_waits(cell: Cell, how: str) -> None:
    cell.run(cell.store.sweep(scheduler="h:1"))  # somebody knows of tasks that wait for others
    cell.submit("p1")
    more: dict[str, dict[str, Any]] = {"delayed": {"delay": 5}, "waiting": {"after": ["p1"]}}
    cell.submit("t1", deadline=10, **more.get(how, {}))
    cell.submit("behind", after=["t1:failed"])
    if how == "held":
        cell.run(cell.store.hold("t1"))
    assert cell.state("t1") == how
    after(cell, 10)
    assert expired(cell, "t1")
    assert cell.state("behind") is State.PENDING


def test_nothing_is_placed_after_its_deadline_though_no_scheduler_looks(cell: Cell) -> None:
    cell.submit("t1", "t2", deadline=10)
    cell.submit("sweep", array="1-5", deadline=10)
    cell.submit("patient")
    cell.now += 10_000
    cell.node("a", cpu=16, memory=16_000)
    cell.place()
    assert list(cell.starts("a")) == ["patient"]
    assert cell.state("t1") is State.DELAYED
    expire(cell)
    assert all(expired(cell, one) for one in ("t1", "t2", "sweep/1", "sweep/5"))
    assert cell.state("sweep") is State.FAILED


def test_of_an_array_what_is_not_made_fails(cell: Cell) -> None:
    cell.node("a", cpu=2)
    cell.submit("sweep", array="1-9", deadline=10, retries=0)
    cell.place()
    cell.run(cell.store.hold("sweep/5"))
    starts = cell.starts("a")
    assert sorted(starts) == ["sweep/1", "sweep/2"]
    after(cell, 10)
    assert expired(cell, "sweep/5")
    assert expired(cell, "sweep/9")
    assert cell.info("sweep").elements == {"waiting": 0, "active": 2, "completed": 0, "failed": 7, "cancelled": 0}
    for start in starts.values():
        cell.finish("a", start)
    assert cell.state("sweep") is State.FAILED
    assert cell.run(cell.store.info()).tasks["failed"] == 7
    cell.run(cell.store.requeue("sweep/9"))
    cell.place()
    cell.finish("a", cell.starts("a")["sweep/9"])
    assert cell.state("sweep/9") is State.COMPLETED
    assert cell.run(cell.store.info()).tasks["failed"] == 6
    cell.run(cell.store.forget_ids(["sweep"]))
    assert cell.run(cell.store.info()).tasks["failed"] == 0


def test_who_requeues_what_has_expired_wants_it_to_run(cell: Cell) -> None:
    cell.submit("t1", deadline=10)
    after(cell, 10)
    cell.run(cell.store.requeue("t1"))
    after(cell, 100)
    assert cell.state("t1") is State.PENDING


def test_an_end_before_the_deadline_leaves_nothing(cell: Cell) -> None:
    cell.submit("t1", "t2", deadline=10)
    cell.run(cell.store.cancel("t1", requeue=False))
    cell.submit("sweep", array="1-3", deadline=10)
    cell.run(cell.store.cancel("sweep", requeue=False))
    assert cell.run(cell.store.promote()).expires_in == 10
    cell.run(cell.store.cancel("t2", requeue=False))
    assert cell.run(cell.store.promote()).expires_in is None


# -- no node could hold it ---------------------------------------------------------------------------------------------


def infeasible(cell: Cell, task_id: str) -> bool:
    info = cell.info(task_id)
    return info.state is State.FAILED and info.reason == Reason.INFEASIBLE


def test_what_no_node_could_hold_fails_at_once_if_it_is_asked_to(cell: Cell) -> None:
    cell.node("a", cpu=4)
    cell.submit("big", cpu=8, infeasible="fail")
    cell.submit("labelled", require=["gpu"], infeasible="fail")
    cell.submit("gpus", resources={"gpu": 1}, infeasible="fail")
    cell.submit("many", cpu=8, array="1-1000", infeasible="fail")
    cell.submit("waits", cpu=8)
    cell.submit("fits", cpu=4, infeasible="fail")
    assert all(infeasible(cell, one) for one in ("big", "labelled", "gpus", "many/17"))
    assert cell.state("many") is State.FAILED
    assert cell.state("waits") is State.PENDING
    cell.place()
    assert cell.state("fits") is State.ASSIGNED


def test_a_node_that_drains_or_has_a_fault_may_come_back_and_one_that_leaves_later_ends_nothing(cell: Cell) -> None:
    cell.node("a", cpu=4)
    cell.run(cell.store.node_drain("a"))
    cell.submit("t1", cpu=4, infeasible="fail")
    assert cell.state("t1") is State.PENDING
    cell.run(cell.store.node_leave("a", "1"))
    after(cell, 100)
    assert cell.state("t1") is State.PENDING
    cell.submit("t2", cpu=4, infeasible="fail")
    assert infeasible(cell, "t2"), "no node is there"


def test_it_is_looked_at_when_a_task_could_first_be_placed(cell: Cell) -> None:
    cell.node("a", cpu=4)
    cell.submit("p1")
    cell.submit("later", cpu=8, delay=10, infeasible="fail")
    cell.submit("behind", cpu=8, after=["p1"], infeasible="fail")
    cell.submit("lucky", cpu=8, delay=20, infeasible="fail")
    cell.place()
    cell.finish("a", cell.starts("a")["p1"])
    after(cell, 10)
    assert infeasible(cell, "later")
    assert infeasible(cell, "behind")
    cell.node("b", cpu=8)
    after(cell, 10)
    assert cell.state("lucky") is State.PENDING


@pytest.mark.parametrize(
    "damage",
    [
        ("DEL", "expiring"),
        ("ZADD", "expiring", 5, "t1"),
        ("ZADD", "expiring", 5, "nobody"),
        ("ZADD", "expiring", 5, "done"),
        ("ZREM", "expiring", "sweep"),
        ("SET", "expiring", "x"),
    ],
)
def test_the_audit_sees_a_wrong_index_and_a_repair_mends_it(cell: Cell, damage: tuple[str | int, ...]) -> None:
    cell.submit("t1", "done", deadline=10)
    cell.submit("sweep", array="1-9", deadline=20)
    cell.run(cell.store.cancel("done", requeue=False))
    verb, key, *more = damage

    def do() -> Op[None]:
        yield [(verb, cell.store.keys.prefix + str(key), *more)]

    cell.run(do())
    namespace = cell.store.keys.namespace
    assert audit.problems(cell.run(audit.check(namespace)))
    cell.run(repair(namespace))
    assert not audit.problems(cell.run(audit.check(namespace)))
    after(cell, 10)
    assert expired(cell, "t1")
    assert cell.state("sweep") is State.PENDING


STORIES: dict[str, Callable[[Cell], None]] = {
    # the mark of a line of a script, and what the line becomes → a story that it spoils
    "first_start: if false then": test_one_that_is_on_a_node_or_was_is_left_alone,
    "expired: if false then": test_nothing_is_placed_after_its_deadline_though_no_scheduler_looks,
    "infeasible: if true then return false end": test_what_no_node_could_hold_fails_at_once_if_it_is_asked_to,
}
BUGS = [tuple(bug.split(": ")) for bug in STORIES]


@pytest.mark.parametrize("bug", STORIES)
def test_a_bug_is_found(
    bug: str, redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, line = bug.split(": ")
    run_with(monkeypatch, mark, line, tmp_path)
    link = Link(redis_url)
    with pytest.raises(AssertionError):
        STORIES[bug](Cell(link, namespace))
    link.close()
