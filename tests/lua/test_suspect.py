"""A task that may have killed its node runs alone before it may fail as poison."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.link import Op
from rq_sched.model.states import State
from tests.lua.cell import Cell


@pytest.fixture
def two(cell: Cell) -> Cell:
    """A node that is about to die with two tasks on it, both with a crash limit of 1."""
    cell.node("a")
    cell.submit("guilty", "innocent", crash_limit=1, retries=1)
    cell.place()
    starts = cell.starts("a")
    cell.started("a", *starts.values())
    return cell


def die(cell: Cell, node_id: str, incarnation: str = "1") -> str:
    """The node is lost with all that it holds; how that stands in ``lost``."""
    cell.run(cell.store.node_leave(node_id, incarnation, crashed=True))
    (lost,) = cell.run(cell.store.sweep())[1]
    while cell.run(cell.store.reap(lost, limit=1))[1]:  # batches: how it died is known from the first to the last
        pass
    return lost


def suspects(cell: Cell) -> set[str]:
    def op() -> Op[list[Any]]:
        return (yield [("SMEMBERS", cell.store.keys.suspects)])

    return {name.decode() for name in cell.run(op())[0]}


def test_a_death_among_others_makes_suspects_and_one_alone_makes_poison(two: Cell) -> None:
    cell = two
    assert die(cell, "a") == "a:1:crashed"
    for task_id in ("guilty", "innocent"):
        info = cell.info(task_id)
        assert (info.state, info.crashes, info.suspect) == (State.PENDING, 0, True)
    assert suspects(cell) == {"guilty", "innocent"}
    cell.node("a", incarnation="2")
    cell.submit("bystander")
    assert cell.place() == 1  # it has the node to itself
    starts = cell.starts("a", "2")
    assert list(starts) == ["guilty"]
    assert starts["guilty"].allocation == (4, 1024)
    assert starts["guilty"].elastic == "off"
    assert cell.free("a") == (0, 0)
    cell.started("a", starts["guilty"], incarnation="2")
    assert die(cell, "a", "2") == "a:2:alone"
    info = cell.info("guilty")
    assert (info.state, info.reason, info.crashes, info.suspect) == (State.FAILED, "poison", 1, False)
    assert (info.cpu_needed, info.memory_needed) == (1, 100)
    cell.node("a", incarnation="3")
    assert cell.place() == 1
    starts = cell.starts("a", "3")
    outcome, next_ones = cell.finish("a", starts["innocent"], incarnation="3")
    assert (outcome, list(next_ones)) == ("recorded", ["bystander"])
    info = cell.info("innocent")
    assert (info.state, info.crashes, info.suspect, info.cpu_needed) == (State.COMPLETED, 0, False, 1)
    assert suspects(cell) == set()


def test_the_death_of_its_own_process_is_its_own_doing(two: Cell) -> None:
    starts = {task_id: two.info(task_id) for task_id in ("guilty", "innocent")}
    assert all(info.state == State.RUNNING for info in starts.values())
    order = two.run(two.store.node_ledger("a", "1")).entries
    guilty = next(entry for entry in order if entry.task_id == "guilty")
    two.finish("a", guilty, "crashed")  # type: ignore[arg-type]
    assert two.info("guilty").reason == "poison"
    assert two.info("innocent").state == State.RUNNING


def test_who_was_alone_anyway_fails_at_once(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", crash_limit=1)
    cell.place()
    cell.started("a", cell.starts("a")["t"])
    assert die(cell, "a") == "a:1:alone"
    assert cell.info("t").reason == "poison"


def test_an_attempt_beside_it_that_was_not_reported_may_have_been_the_one(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", "unreported", crash_limit=1)
    cell.place()
    cell.started("a", cell.starts("a")["t"])
    die(cell, "a")
    assert cell.info("t").suspect
    assert not cell.info("unreported").suspect


def test_below_the_limit_a_death_is_charged_as_ever(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", "other", crash_limit=3)
    cell.place()
    cell.started("a", *cell.starts("a").values())
    die(cell, "a")
    info = cell.info("t")
    assert (info.crashes, info.suspect, info.cpu_needed) == (1, False, 1)


def test_it_needs_the_largest_node_that_could_hold_it(two: Cell) -> None:
    """On any other size it wouldn't be alone, or would not fit. Sizes change; it follows."""
    cell = two
    cell.node("wide", 8, 512)
    cell.node("low", 9, 64)  # has too little memory for it
    die(cell, "a")
    assert cell.info("guilty").cpu_needed == 8
    cell.node("a", 4, 1024, incarnation="2")
    cell.run(cell.store.node_leave("wide", "1"))
    cell.run(cell.store.reserve())
    info = cell.info("guilty")
    assert (info.state, info.cpu_needed, info.memory_needed) == (State.PENDING, 4, 1024)
    assert cell.place() == 1
    assert list(cell.starts("a", "2")) == ["guilty"]


def test_a_larger_node_that_joins_is_what_it_needs_from_then_on(two: Cell) -> None:
    cell = two
    die(cell, "a")
    cell.run(cell.store.hold("innocent"))
    cell.node("b", 8, 8192)
    cell.run(cell.store.reserve())
    assert cell.info("guilty").cpu_needed == 8
    cell.run(cell.store.unhold("innocent"))
    cell.run(cell.store.reserve())
    assert cell.info("innocent").cpu_needed == 8
    assert cell.place() == 1
    assert cell.free("b") == (0, 0)


def test_an_exception_while_alone_clears_it(two: Cell) -> None:
    cell = two
    die(cell, "a")
    cell.node("a", incarnation="2")
    cell.place()
    cell.finish("a", cell.starts("a", "2")["guilty"], "failed", incarnation="2", reason="error", error="boom")
    info = cell.info("guilty")
    assert (info.state, info.suspect, info.cpu_needed) == (State.DELAYED, False, 1)


@pytest.mark.parametrize("outcome", ["returned", "stopped"])
def test_one_that_was_given_back_must_still_run_alone(two: Cell, outcome: str) -> None:
    cell = two
    die(cell, "a")
    cell.node("a", incarnation="2")
    cell.place()
    cell.finish("a", cell.starts("a", "2")["guilty"], outcome, incarnation="2")
    info = cell.info("guilty")
    assert (info.suspect, info.cpu_needed) == (True, 4)


def test_it_can_not_give_back_what_keeps_others_away(two: Cell) -> None:
    cell = two
    die(cell, "a")
    cell.node("a", incarnation="2")
    cell.place()
    start = cell.starts("a", "2")["guilty"]
    resized = cell.run(cell.store.task_resize("a", "2", start.token, number=1, cpu=1, memory=100))
    assert resized.allocation == (4, 1024)
    assert cell.free("a") == (0, 0)


def test_a_cancelled_suspect_leaves_nothing(two: Cell) -> None:
    cell = two
    die(cell, "a")
    for task_id in ("guilty", "innocent"):
        assert cell.run(cell.store.cancel(task_id, requeue=False)).outcome == "cancelled"
        assert cell.info(task_id).cpu_needed == 1
    assert suspects(cell) == set()


def test_a_node_is_kept_for_it_like_for_any_large_task(two: Cell) -> None:
    """No starvation: small tasks that keep coming don't hold it up for ever."""
    cell = two
    cell.node("b")
    cell.submit("small1", "small2")
    cell.place()
    die(cell, "a")
    cell.run(cell.store.hold("innocent"))
    starts = cell.starts("b")
    cell.run(cell.store.reserve())
    cell.now += 31_000
    reserved = cell.run(cell.store.reserve())
    assert (reserved.task_id, reserved.node_id) == ("guilty", "b")
    cell.submit("later1", "later2", "later3")
    assert cell.place() == 0
    cell.finish("b", starts["small1"])
    _, placed = cell.finish("b", starts["small2"])
    assert list(placed) == ["guilty"]
    assert cell.run(cell.store.explain("guilty")).suspect
