"""Cancel in every state, with and without requeue: what it answers, and when the capacity is free."""

from __future__ import annotations

import pytest

from rq_sched.errors import TaskNotFound
from rq_sched.model.states import State
from tests.lua.cell import Cell


def test_pending_goes_behind_its_equals(cell: Cell) -> None:
    cell.submit("t1", "t2")
    done = cell.run(cell.store.cancel("t1"))
    assert (done.outcome, done.state) == ("requeued", State.PENDING)
    assert [e[2] for e in cell.run(cell.store.pending_in_order(5))] == ["t2", "t1"]


@pytest.mark.parametrize("state", ["pending", "delayed", "held"])
def test_waiting_without_requeue_ends(cell: Cell, state: str) -> None:
    cell.submit("t", delay=9 if state == "delayed" else 0)
    if state == "held":
        cell.run(cell.store.hold("t"))
    done = cell.run(cell.store.cancel("t", requeue=False, reason="not needed"))
    assert (done.outcome, done.state) == ("cancelled", State.CANCELLED)
    cell.node("a")
    cell.now += 10_000
    cell.run(cell.store.promote())
    assert cell.place() == 0
    again = cell.run(cell.store.cancel("t", requeue=False))
    assert again.outcome == "already cancelled"


@pytest.mark.parametrize("state", ["delayed", "held"])
def test_delayed_and_held_stay_so(cell: Cell, state: str) -> None:
    cell.submit("t", delay=9 if state == "delayed" else 0)
    if state == "held":
        cell.run(cell.store.hold("t"))
    done = cell.run(cell.store.cancel("t"))
    assert (done.outcome, done.state) == ("unchanged", State(state))


@pytest.mark.parametrize("requeue", [False, True])
def test_only_what_waits(cell: Cell, requeue: bool) -> None:
    cell.node("a", 2)
    cell.submit("runs")
    cell.submit("begins")
    cell.place()
    starts = cell.starts("a")
    cell.started("a", starts["runs"])
    cell.submit("waits", cpu=2)
    for task_id, state in (("runs", State.RUNNING), ("begins", State.ASSIGNED)):
        done = cell.run(cell.store.cancel(task_id, requeue=requeue, waiting=True))
        assert (done.outcome, done.state, done.attempt) == ("unchanged", state, 1)
        assert cell.info(task_id).reason is None
    assert cell.stops("a") == {}
    done = cell.run(cell.store.cancel("waits", requeue=requeue, waiting=True))
    assert done.outcome == ("requeued" if requeue else "cancelled")
    for start in starts.values():
        cell.finish("a", start)
    done = cell.run(cell.store.cancel("runs", requeue=requeue, waiting=True))
    assert done.outcome == "already completed"


def test_of_an_array_only_what_waits(cell: Cell) -> None:
    cell.node("a", 2)
    cell.submit("all", array="1-4")
    cell.place()
    starts = cell.starts("a")
    done = cell.run(cell.store.cancel("all", requeue=False, waiting=True))
    assert (done.outcome, dict(done.elements), cell.stops("a")) == ("stopping", {}, {})
    assert [cell.state(f"all/{n}") for n in (1, 2, 3, 4)] == [State.ASSIGNED] * 2 + [State.CANCELLED] * 2
    for start in starts.values():
        cell.finish("a", start)
    assert cell.info("all").elements == {"waiting": 0, "active": 0, "completed": 2, "failed": 0, "cancelled": 2}


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("requeue", [False, True])
def test_the_capacity_is_free_only_when_the_process_is_gone(cell: Cell, running: bool, requeue: bool) -> None:
    cell.node("a", 1, 1024)
    cell.submit("t")
    cell.place()
    start = cell.starts("a")["t"]
    if running:
        cell.started("a", start)
    done = cell.run(cell.store.cancel("t", requeue=requeue, grace=2))
    assert done.outcome == "stopping"
    info = cell.info("t")
    assert (info.state, info.reason) == (State.RUNNING if running else State.ASSIGNED, "cancelling")
    assert cell.free("a") == (0, 924)
    cell.submit("next")
    assert cell.place() == 0
    stop = cell.stops("a")["t"]
    assert (stop.token, stop.grace) == (start.token, 2)
    outcome, starts = cell.finish("a", stop, "stopped")
    assert outcome == "recorded"
    assert list(starts) == ["next"]
    assert cell.state("t") == (State.PENDING if requeue else State.CANCELLED)
    assert cell.info("t").reason == ("no_fit_now" if requeue else None)


@pytest.mark.parametrize("outcome", ["completed", "failed", "crashed"])
def test_an_outcome_after_the_cancel_does_not_count(cell: Cell, outcome: str) -> None:
    cell.node("a", 1, 1024)
    cell.submit("t", retries=3)
    cell.place()
    start = cell.starts("a")["t"]
    cell.run(cell.store.cancel("t", requeue=False))
    assert cell.finish("a", start, outcome, error="late" if outcome == "failed" else None)[0] == "recorded"
    info = cell.info("t")
    assert (info.state, info.result, info.crashes, info.retries_left) == (State.CANCELLED, None, 0, 3)
    assert cell.finish("a", start, "stopped")[0] == "recorded"
    assert cell.free("a") == (1, 1024)


def test_an_end_before_the_cancel_wins(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t")
    cell.place()
    cell.finish("a", cell.starts("a")["t"])
    done = cell.run(cell.store.cancel("t", requeue=False))
    assert (done.outcome, done.state) == ("already completed", State.COMPLETED)


def test_a_promised_end_is_not_taken_back(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t")
    cell.place()
    cell.run(cell.store.cancel("t", requeue=False))
    cell.run(cell.store.cancel("t", requeue=True))
    cell.finish("a", cell.stops("a")["t"], "stopped")
    assert cell.state("t") == State.CANCELLED


def test_a_requeue_can_still_become_an_end(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t")
    cell.place()
    cell.run(cell.store.cancel("t"))
    cell.run(cell.store.cancel("t", requeue=False))
    cell.finish("a", cell.stops("a")["t"], "stopped")
    assert cell.state("t") == State.CANCELLED


def test_a_cancel_sent_twice_by_the_driver_hits_one_attempt(cell: Cell) -> None:
    cell.node("a", 1, 1024)
    cell.submit("t")
    cell.place()
    cell.run(cell.store.cancel("t", operation="op"))
    _, again = cell.finish("a", cell.stops("a")["t"], "stopped")
    assert again["t"].attempt == 2
    assert cell.run(cell.store.cancel("t", operation="op")).outcome == "requeued"
    assert cell.info("t").reason is None
    assert cell.stops("a") == {}


def test_unknown(cell: Cell) -> None:
    with pytest.raises(TaskNotFound):
        cell.run(cell.store.cancel("nobody"))
    cell.submit("nobody")  # a cancel of an unknown id does nothing to a later task of that id
    assert cell.state("nobody") == State.PENDING


def test_a_cancelled_task_of_a_dead_node_keeps_its_end(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", "u")
    cell.place()
    cell.started("a", *cell.starts("a").values())
    cell.run(cell.store.cancel("t", requeue=False))
    cell.run(cell.store.node_leave("a", "1", crashed=True))
    _, lost = cell.run(cell.store.sweep())
    assert cell.run(cell.store.reap(lost[0])) == (2, 0)
    assert cell.state("t") == State.CANCELLED
    assert (cell.state("u"), cell.info("u").crashes) == (State.PENDING, 1)
