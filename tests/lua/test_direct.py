"""A task submitted while nothing waits goes to a node without its queue; wherever something waits, it waits, too."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.link import Op
from rq_sched.model.states import State
from rq_sched.store import Store
from rq_sched.store.order_records import ring_of
from tests.lua.cell import Cell


@pytest.fixture
def direct(cell: Cell) -> Cell:
    """Submits place up to eight tasks themselves."""
    cell.store = Store(cell.store.keys.namespace, now_ms=lambda: cell.now, placings=8)
    return cell


def written(cell: Cell, *commands: tuple[Any, ...]) -> list[Any]:
    def op() -> Op[list[Any]]:
        return (yield list(commands))

    return cell.run(op())


def state_of(cell: Cell, *task_ids: str) -> list[State | None]:
    return [cell.state(task_id) for task_id in task_ids]


def test_its_node_gets_it_at_once(direct: Cell) -> None:
    direct.node("a", 4, 1024)
    written(direct, ("DEL", direct.store.keys.dirty))
    assert direct.submit("t1", cpu=3, memory=1000, time_limit=5, retries=1) == ["new"]
    (start,) = direct.starts("a").values()
    assert (start.task_id, start.attempt, start.time_limit, start.allocation.cpu) == ("t1", 1, 5.0, 3)
    assert direct.free("a") == (1, 24)
    info = direct.info("t1")
    assert (info.state, info.node_id, info.attempt) == (State.ASSIGNED, "a", 1)
    direct.started("a", start)
    assert direct.finish("a", start)[0] == "recorded"


def test_its_queue_is_never_written(direct: Cell) -> None:
    direct.node("a", 4, 1024)
    written(direct, ("DEL", direct.store.keys.dirty))
    written(direct, ("SET", direct.store.keys.pending("1:100"), "not a queue"))
    direct.submit("t1")
    assert state_of(direct, "t1") == [State.ASSIGNED]
    assert written(direct, ("GET", direct.store.keys.pending("1:100"))) == [b"not a queue"]
    written(direct, ("DEL", direct.store.keys.pending("1:100")))


def test_what_waits_comes_first(direct: Cell) -> None:
    direct.submit("first", cpu=2)
    direct.node("a", 2, 1024)
    direct.submit("second", cpu=2)
    assert direct.state("second") is State.PENDING
    direct.place()
    assert state_of(direct, "first", "second") == [State.ASSIGNED, State.PENDING]


def test_what_fits_nowhere_waits(direct: Cell) -> None:
    direct.node("a", 2, 1024)
    written(direct, ("DEL", direct.store.keys.dirty))
    direct.submit("large", cpu=4)
    assert state_of(direct, "large") == [State.PENDING]
    direct.submit("small", cpu=1)
    direct.node("b", 4, 1024)
    direct.place()
    assert state_of(direct, "large", "small") == [State.ASSIGNED, State.ASSIGNED]


def test_a_node_that_came_is_filled_first(direct: Cell) -> None:
    """It stands in `dirty`: what waits for it may be earlier."""
    direct.submit("early", cpu=4)
    direct.node("a", 4, 1024)
    direct.submit("late", cpu=4)
    assert direct.state("late") is State.PENDING
    direct.place()
    assert state_of(direct, "early", "late") == [State.ASSIGNED, State.PENDING]


def test_labels_drains_and_delays_hold(direct: Cell) -> None:
    direct.node("a", 2, 1024)
    direct.node("b", 2, 1024, labels=["gpu"])
    written(direct, ("DEL", direct.store.keys.dirty))
    direct.run(direct.store.node_drain("a"))
    direct.submit("labelled", require=["gpu"])
    direct.submit("later", delay=5)
    direct.submit("none", require=["ssd"])
    assert state_of(direct, "labelled", "later", "none") == [State.ASSIGNED, State.DELAYED, State.PENDING]
    assert direct.info("labelled").node_id == "b"


def test_the_log_says_submitted_then_placed(direct: Cell) -> None:
    direct.node("a", 2, 1024)
    written(direct, ("DEL", direct.store.keys.dirty))
    direct.submit("t1")
    ((_, fields),) = written(direct, ("XREVRANGE", direct.store.keys.events, "+", "-", "COUNT", 1))[0]
    assert fields[::2] == [b"submitted", b"placed"]


def test_the_order_to_start_it_comes_with_the_doorbell(direct: Cell) -> None:
    """Where it is the only one; else the doorbell says the number of the last."""
    direct.node("a", 4, 1024)
    written(direct, ("DEL", direct.store.keys.dirty))
    with direct.link.listen(direct.store.keys.bell("a")) as ears:
        direct.submit("t1", time_limit=5)
        _, message = ears.get(5) or ("", b"")
        ring = ring_of(message)
        assert (ring.number, ring.incarnation) == (1, "1")
        assert [ring.order] == direct.orders("a")
        direct.submit("t2", "t3")
        assert ears.get(5) == (direct.store.keys.bell("a"), b"3")
