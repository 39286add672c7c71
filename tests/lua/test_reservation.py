"""Reservation (promise 6) and preemption, as stories on a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.model.orders import Start
from rq_sched.model.states import Reason, State
from rq_sched.store.answers import Reserved
from tests.lua.cell import ON_A_SERVER, Cell


def reserve(cell: Cell, after: float = 0) -> Reserved:
    cell.now += round(after * 1000)
    return cell.run(cell.store.reserve())


def reservation(cell: Cell) -> dict[str, str]:
    def ask() -> Any:
        return (yield [("HGETALL", cell.store.keys.reservation)])[0]

    flat = [text.decode() for text in cell.run(ask())]
    return dict(zip(flat[::2], flat[1::2], strict=True))


@pytest.fixture
def busy(cell: Cell) -> dict[str, Start]:
    """Two nodes of 4 cores, each with tasks of one core; their start orders by task."""
    cell.node("a", 4, 4000)
    cell.node("b", 4, 4000)
    cell.submit(*(f"s{i}" for i in range(8)))
    cell.place()
    return {**cell.starts("a"), **cell.starts("b")}


def on(cell: Cell, task_id: str) -> str:
    node = cell.info(task_id).node_id
    assert node is not None
    return node


def test_a_wide_task_starts_although_small_ones_keep_coming(cell: Cell, busy: dict[str, Start]) -> None:
    cell.submit("wide", cpu=4)
    cell.submit(*(f"later{i}" for i in range(8)))
    assert reserve(cell) == Reserved("wide", None, 0, 1)
    assert reserve(cell, 29.9).node_id is None
    assert reserve(cell, 0.1) == Reserved("wide", "a", 0, 1, "wide")
    for i in range(8):  # whatever ends, the reserved node isn't filled with what comes later
        start = busy[f"s{i}"]
        cell.finish(on(cell, start.task_id), start)
        cell.place()
    assert cell.info("wide").node_id == "a"
    assert reservation(cell) == {}
    assert sum(cell.state(f"later{i}") is State.ASSIGNED for i in range(8)) == 4  # all on the other node


def test_earlier_tasks_pass_the_reservation(cell: Cell, busy: dict[str, Start]) -> None:
    cell.submit("wide", cpu=4)
    reserve(cell)
    reserve(cell, 30)
    cell.submit("urgent", priority=5)
    cell.finish("a", next(s for s in busy.values() if on(cell, s.task_id) == "a"))
    cell.place()
    assert cell.info("urgent").node_id == "a"
    assert reservation(cell)["task"] == "wide"
    cell.submit("first", cpu=4, priority=5)
    assert reserve(cell, 1) == Reserved("first", "a", 0, 1, "wide")  # it hasn't waited for as long yet


def test_behind_many_that_fit_no_node_the_first_that_fits_one_is_found(cell: Cell) -> None:
    """Each has fewer cores than one node and less memory than the other: only both together are too much."""
    cell.node("cores", 16, 1000)
    cell.node("memory", 1, 64_000)
    cell.submit("busy")
    cell.place()
    for i in range(100):
        cell.submit(f"nowhere{i}", cpu=2 + i % 10, memory=1001 + i, priority=5)
    cell.submit("wide", cpu=16, memory=1000)
    found = reserve(cell)
    assert (found.task_id, found.looked) == ("wide", 101)


def test_later_tasks_use_what_is_spare_and_give_it_back(cell: Cell) -> None:
    cell.node("a", 8, 8000)
    cell.submit("long", cpu=5)
    cell.place()
    long = cell.starts("a")["long"]
    cell.submit("wide", cpu=5)
    cell.place()
    reserve(cell)
    assert reserve(cell, 30).node_id == "a"
    assert reservation(cell)["spare_cpu"] == "3"
    cell.submit("x", "y", cpu=2)
    cell.place()
    assert [cell.state(t) for t in ("x", "y")] == [State.ASSIGNED, State.PENDING]  # both would delay it
    x = cell.starts("a")["x"]
    assert reservation(cell)["spare_cpu"] == "1"
    _, orders = cell.finish("a", x)
    assert list(orders) == ["y"]
    assert reservation(cell)["spare_cpu"] == "1"
    _, orders = cell.finish("a", long)
    assert list(orders) == ["wide"]


def test_time_limits_allow_what_ends_before_it_starts(cell: Cell) -> None:
    cell.node("a", 4, 4000)
    cell.submit("long", cpu=3, time_limit=100)
    cell.place()
    cell.started("a", cell.starts("a")["long"])
    cell.submit("wide", cpu=4)
    cell.place()
    reserve(cell)
    assert reserve(cell, 30).node_id == "a"
    assert int(reservation(cell)["until"]) == 1_100_000
    cell.submit("endless")
    cell.submit("too-long", time_limit=71, memory=101)
    cell.submit("short", time_limit=70, memory=102)
    cell.place()
    assert [cell.state(t) for t in ("endless", "too-long", "short")] == [State.PENDING, State.PENDING, State.ASSIGNED]


def test_a_node_that_is_empty_soon_is_reserved_although_others_lack_less(cell: Cell) -> None:
    for i in range(10):
        cell.node(f"n{i}", 4, 4000)
        cell.submit(f"half{i}", cpu=3, time_limit=300)
        cell.place()
    cell.node("soon", 4, 4000)
    cell.submit("whole", cpu=4, time_limit=100)
    cell.place()
    assert on(cell, "whole") == "soon"
    cell.submit("wide", cpu=4)
    reserve(cell)
    assert reserve(cell, 30).node_id == "soon"


def test_the_node_with_room_first_is_reserved(cell: Cell) -> None:
    for name, limit in (("a", 300), ("b", 200), ("c", 250)):
        cell.node(name, 4, 4000)
        cell.submit(name * 3, cpu=4, time_limit=limit)
        cell.place()
    cell.submit("wide", cpu=4)
    reserve(cell)
    assert reserve(cell, 30).node_id == "b"


def test_what_fits_nowhere_is_passed_over(cell: Cell, busy: dict[str, Start]) -> None:
    cell.submit(*(f"huge{i}" for i in range(50)), cpu=64, priority=9)
    for i in range(30):
        cell.submit(f"odd{i}", cpu=3, memory=4001 + i, priority=9)
    cell.submit("wide", cpu=4)
    cell.place()
    reserve(cell)
    assert reserve(cell, 30).task_id == "wide"


def test_it_can_be_switched_off_and_come_at_once(cell: Cell, busy: dict[str, Start]) -> None:
    cell.submit("wide", cpu=4)
    cell.run(cell.store.set_setting("reserve_after", "off"))
    cell.run(cell.store.set_setting("preempt_after", "off"))
    assert reserve(cell, 1000) == Reserved(None, None, 0, 0)
    cell.run(cell.store.set_setting("reserve_after", 0))
    assert reserve(cell).node_id == "a"
    cell.run(cell.store.set_setting("reserve_after", "off"))
    reserve(cell)
    assert reservation(cell) == {}
    assert cell.free("a") == (0, 3600)


@pytest.mark.parametrize("leave", ["cancel", "requeue", "hold", "priority"])
def test_the_reservation_ends_when_the_task_leaves(cell: Cell, busy: dict[str, Start], leave: str) -> None:
    cell.submit("wide", cpu=4)
    reserve(cell)
    assert reserve(cell, 30).node_id == "a"
    cell.submit("small")
    start = next(s for s in busy.values() if on(cell, s.task_id) == "a")
    cell.finish("a", start)
    cell.place()
    assert cell.state("small") is State.PENDING
    store = cell.store
    if leave == "cancel":
        cell.run(store.cancel("wide", requeue=False))
    elif leave == "requeue":
        cell.run(store.cancel("wide"))
    elif leave == "hold":
        cell.run(store.hold("wide"))
    else:
        cell.run(store.prioritize("wide", -1))
    assert "task" not in reservation(cell)
    cell.place()
    assert cell.info("small").node_id == "a"


@pytest.mark.parametrize("how", ["drain", "leave", "dead"])
def test_the_reservation_ends_with_its_node(cell: Cell, busy: dict[str, Start], how: str) -> None:
    cell.submit("wide", cpu=4)
    reserve(cell)
    assert reserve(cell, 30).node_id == "a"
    if how == "drain":
        cell.run(cell.store.node_drain("a"))
    elif how == "leave":
        cell.run(cell.store.node_leave("a", "1"))
    else:
        cell.run(cell.store.node_heartbeat("b", "1", acked=0))
        cell.run(cell.store.sweep())
        cell.now += 9_000
        cell.run(cell.store.node_heartbeat("b", "1", acked=0))
        cell.now += 1_001
        cell.run(cell.store.sweep(gap=100))
    assert reservation(cell).get("node") is None
    cell.now += 1
    reserve(cell)
    assert reserve(cell, 30).node_id == "b"


def test_an_earlier_blocked_task_takes_it_over_after_its_own_wait(cell: Cell, busy: dict[str, Start]) -> None:
    cell.submit("wide", cpu=4)
    reserve(cell)
    assert reserve(cell, 30).node_id == "a"
    cell.submit("urgent", cpu=3, priority=9)
    assert reserve(cell, 1).task_id == "urgent"
    assert reservation(cell)["task"] == "wide"
    assert reserve(cell, 30).task_id == "urgent"
    assert reservation(cell)["task"] == "urgent"


# -- preemption -----------------------------------------------------------------------------------------


def test_preemption_stops_as_few_as_needed_and_keeps_the_room(cell: Cell) -> None:
    cell.node("a", 4, 4000)
    cell.node("b", 4, 4000)
    cell.submit(*(f"fixed{i}" for i in range(4)), cpu=1)
    cell.place()
    cell.submit("p1", "p2", cpu=2, preemptible=True, priority=-1)
    cell.place()
    starts = {**cell.starts("a"), **cell.starts("b")}
    for start in starts.values():
        cell.started(on(cell, start.task_id), start)
    cell.submit("vip", cpu=2, priority=5)
    cell.submit("small", priority=1)
    reserve(cell)
    done = reserve(cell, 30)
    assert (done.task_id, done.preempted) == ("vip", 1)
    node = done.node_id
    assert node is not None
    (stop,) = cell.stops(node).values()
    assert cell.info(stop.task_id).reason == Reason.PREEMPTING
    assert reserve(cell, 1).preempted == 0  # once is enough
    _, orders = cell.finish(node, stop, "stopped")
    assert list(orders) == ["vip"]  # and neither the victim nor the smaller one
    victim = cell.info(stop.task_id)
    assert (victim.state, victim.retries_left, victim.crashes) == (State.PENDING, 0, 0)


def test_only_lower_priority_that_may_be_stopped_and_has_run(cell: Cell) -> None:
    cell.node("a", 4, 4000)
    cell.submit("equal", cpu=1, preemptible=True, priority=5)
    cell.submit("not-marked", cpu=1)
    cell.submit("idle", cpu=1, preemptible=True)  # never starts
    cell.submit("young", cpu=1, preemptible=True)
    cell.place()
    starts = cell.starts("a")
    cell.started("a", starts["equal"], starts["not-marked"])
    cell.submit("vip", cpu=1, priority=5)
    reserve(cell)
    cell.now += 25_000
    cell.started("a", starts["young"])
    assert reserve(cell, 5).preempted == 0
    assert reserve(cell, 5).preempted == 1
    assert list(cell.stops("a")) == ["young"]


def test_never_the_same_victim_for_ever(cell: Cell) -> None:
    cell.node("a", 4, 4000)
    cell.submit("victim", cpu=4, preemptible=True, priority=-1)
    preempted = 0
    for i in range(5):
        cell.place()
        start = cell.starts("a").get("victim")
        assert start is not None
        cell.started("a", start)
        cell.submit(f"vip{i}", cpu=4)
        reserve(cell)
        if reserve(cell, 30).preempted:
            preempted += 1
            _, orders = cell.finish("a", cell.stops("a")["victim"], "stopped")
            cell.finish("a", orders[f"vip{i}"])
            cell.acked["a"] = 0
        else:
            cell.run(cell.store.cancel(f"vip{i}", requeue=False))
            break
    assert preempted == 3
    assert cell.info("victim").attempt == 4


@ON_A_SERVER
def test_a_whole_node_is_made_free_though_its_tasks_are_few_among_all_that_may_be_stopped(cell: Cell) -> None:
    """The attempts of one node are strewn over the index: none has enough among those that are looked at first."""
    names = [f"n{i:02d}" for i in range(40)]
    for name in names:
        cell.node(name, 16, 16000)
    for i in range(16 * 40):
        cell.submit(f"p{i}", memory=1000, preemptible=True)
        cell.run(cell.store.place(1))  # a call each, so that their tokens have no order
    for name in names:
        cell.started(name, *cell.starts(name).values())
    cell.submit("vip", cpu=16, memory=16000, priority=1)
    reserve(cell)
    assert reserve(cell, 30).preempted == 16


@ON_A_SERVER
def test_a_node_with_too_many_tasks_to_look_at_hides_no_other(cell: Cell) -> None:
    """More than are looked at in one call run on the first node, and those that were seen there aren't enough."""
    for name, tasks, memory in (("huge", 300, 100), ("small", 16, 1900)):
        cell.node(name, tasks, tasks * memory)
        for i in range(tasks):
            cell.submit(f"{name}{i}", memory=memory, preemptible=True)
            cell.run(cell.store.place(1))
        cell.started(name, *cell.starts(name).values())
    cell.submit("vip", cpu=16, memory=30_000, priority=1)
    reserve(cell)
    done = reserve(cell, 30)
    assert (done.node_id, done.preempted) == ("small", 16)


def test_preemption_can_be_switched_off(cell: Cell) -> None:
    cell.node("a", 4, 4000)
    cell.submit("p", cpu=4, preemptible=True)
    cell.place()
    cell.started("a", cell.starts("a")["p"])
    cell.run(cell.store.set_setting("preempt_after", "off"))
    cell.submit("vip", cpu=4, priority=1)
    reserve(cell)
    assert reserve(cell, 100).preempted == 0


@ON_A_SERVER
def test_a_reserved_node_is_filled_without_walking_all_that_waits(cell: Cell) -> None:
    """Thousands of shapes that don't fit into what is spare are passed over in groups: counted in commands."""
    cell.node("a", 64, 10**6)
    cell.submit("long", cpu=40)
    cell.submit("short", cpu=20)
    cell.place()
    starts = cell.starts("a")
    cell.submit("wide", cpu=64)
    cell.place()
    reserve(cell)
    assert reserve(cell, 30).node_id == "a"
    for i in range(600):
        cell.submit(f"x{i}", cpu=2 + i % 8, memory=100 + i)
    cell.place()
    before = commands(cell)
    cell.finish("a", starts["short"])
    if before is not None:
        assert (commands(cell) or 0) - before < 100
    assert cell.free("a")[0] == 24


def commands(cell: Cell) -> int | None:
    """How many commands the server has carried out, those in scripts included; None: fakeredis doesn't count."""

    def ask() -> Any:
        return (yield [("INFO", "commandstats")])[0]

    try:
        text = cell.run(ask()).decode()
    except Exception:  # fakeredis
        return None
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in text.splitlines() if "calls=" in line)
