"""Allocations that change while their task runs: growth into idle CPU, taking it back, killed for memory."""

from __future__ import annotations

from rq_sched.model.orders import Resize, Start
from rq_sched.model.resources import Resources
from rq_sched.model.states import State
from rq_sched.store.answers import EndReport
from tests.lua.cell import Cell


def grow(cell: Cell, *starts: Start, idle: float = 1.0) -> int:
    return cell.run(cell.store.task_grow("a", "1", [s.token for s in starts], idle=idle))[0]


def resizes(cell: Cell) -> dict[str, Resources]:
    return {o.task_id: o.allocation for o in cell.orders("a") if isinstance(o, Resize)}


def allocated(cell: Cell, task_id: str) -> int:
    return cell.info(task_id).cpu_allocated


def test_an_elastic_task_has_two_cores_when_alone_and_one_when_not(cell: Cell) -> None:
    cell.node("a", 2, 1000)
    cell.submit("t", max_cpu_needed=2)
    cell.place()
    start = cell.starts("a")["t"]
    assert grow(cell, start, idle=0.5) == 0  # not idle for long enough
    assert grow(cell, start) == 1
    assert resizes(cell) == {"t": Resources(2, 100)}
    assert cell.free("a") == (0, 900)
    cell.submit("other")
    cell.place()  # surplus counts as free
    orders = cell.orders("a")
    assert [(type(o).__name__, o.task_id) for o in orders if not hasattr(o, "grace") and hasattr(o, "task_id")] == [
        ("Resize", "t"),
        ("Start", "other"),
    ]
    assert (allocated(cell, "t"), allocated(cell, "other"), cell.free("a")) == (1, 1, (0, 800))


def test_idle_cpu_is_shared_and_those_with_most_give_first(cell: Cell) -> None:
    cell.node("a", 10, 1000)
    cell.submit("t1", max_cpu_needed=3)
    cell.submit("t2", max_cpu_needed=9)
    cell.submit("rigid", max_cpu_needed=9, elastic="off")
    cell.place()
    starts = cell.starts("a")
    assert grow(cell, *starts.values()) == 2
    assert resizes(cell) == {"t1": Resources(3, 100), "t2": Resources(6, 100)}
    cell.submit("wide", cpu=4)
    cell.place()
    assert [allocated(cell, t) for t in ("t1", "t2", "wide")] == [3, 2, 4]
    cell.finish("a", starts["t2"])
    assert cell.free("a") == (2, 700)
    cell.finish("a", starts["t1"])
    assert cell.free("a") == (5, 800)


def test_nothing_grows_into_what_others_wait_for(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t", cpu=2, max_cpu_needed=4)
    cell.place()
    start = cell.starts("a")["t"]
    cell.submit("next", cpu=2)  # not placed yet
    assert grow(cell, start) == 0
    cell.place()
    cell.finish("a", cell.starts("a")["next"])
    cell.submit("wide", cpu=4)
    cell.place()
    cell.run(cell.store.reserve())
    cell.now += 30_000
    assert cell.run(cell.store.reserve()).node_id == "a"
    assert grow(cell, start) == 0
    answer = cell.run(cell.store.task_resize("a", "1", start.token, number=1, cpu=4, memory=None))
    assert answer.allocation == Resources(2, 100)


def test_what_was_given_back_can_be_had_again_on_a_reserved_node(cell: Cell) -> None:
    """The reservation counts on its need: without it the task would be killed for memory that nobody uses."""
    cell.node("a", 4, 1000)
    cell.submit("t", cpu=2, memory=300, max_memory_needed=400)
    cell.place()
    start = cell.starts("a")["t"]
    number = iter(range(1, 9))

    def resize(cpu: int, memory: int) -> Resources:
        ask = cell.store.task_resize("a", "1", start.token, number=next(number), cpu=cpu, memory=memory)
        return cell.run(ask).allocation

    assert resize(1, 100) == Resources(1, 100)
    cell.submit("wide", cpu=4)
    cell.place()
    cell.run(cell.store.reserve())
    cell.now += 30_000
    assert cell.run(cell.store.reserve()).node_id == "a"
    assert resize(1, 301) == Resources(1, 100)  # beyond its need
    assert resize(2, 300) == Resources(2, 300)
    assert cell.free("a") == (2, 700)


def test_an_answer_says_which_resize_orders_are_older(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t", max_cpu_needed=4)
    cell.place()
    start = cell.starts("a")["t"]
    grow(cell, start)
    answer = cell.run(cell.store.task_resize("a", "1", start.token, number=1, cpu=2, memory=50))
    (order,) = [o for o in cell.orders("a") if isinstance(o, Resize)]
    assert answer.allocation == Resources(2, 50)
    assert order.number <= answer.ordered


def test_a_task_grows_back_to_its_need_from_the_surplus_of_others(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t", cpu=3)
    cell.submit("u", max_cpu_needed=3)
    cell.place()
    starts = cell.starts("a")
    number = iter(range(1, 9))

    def resize(name: str, cpu: int) -> int:
        ask = cell.store.task_resize("a", "1", starts[name].token, number=next(number), cpu=cpu, memory=None)
        return cell.run(ask).allocation.cpu

    assert resize("t", 1) == 1
    assert grow(cell, starts["u"]) == 1
    assert resize("t", 3) == 3
    assert allocated(cell, "u") == 1
    assert resize("u", 2) == 1  # beyond its need only what is idle


def test_a_refill_that_takes_surplus_back_says_so_in_its_reply(cell: Cell) -> None:
    """The agent acknowledges by number: an order that the reply leaves out would count as worked off."""
    cell.node("a", 4, 1000)
    cell.submit("elastic", max_cpu_needed=3)
    cell.submit("short")
    cell.place()
    starts = cell.starts("a")
    assert grow(cell, starts["elastic"]) == 1
    assert resizes(cell) == {"elastic": Resources(3, 100)}
    cell.submit("wide", cpu=2)
    report = EndReport(starts["short"].token, "short", "completed", ran=0.1, result=b"\xc0")
    orders = cell.run(cell.store.task_finish("a", "1", acked=cell.acked["a"], reports=[report])).orders
    assert [(type(order), order.task_id) for order in orders if isinstance(order, (Resize, Start))] == [
        (Resize, "elastic"),
        (Start, "wide"),
    ]
    assert [order.number for order in orders] == [cell.acked["a"] + 1, cell.acked["a"] + 2]
    assert isinstance(orders[0], Resize)
    assert orders[0].allocation == Resources(2, 100)
    assert allocated(cell, "elastic") == 2


# -- killed for memory ----------------------------------------------------------------------------------


def oom(cell: Cell, start: Start) -> None:
    assert cell.finish("a", start, "failed", reason="oom", error="too much")[0] == "recorded"


def test_killed_for_memory_its_need_doubles_once_for_free(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t", memory=300, max_memory_needed=5000, retries=1)
    cell.place()
    oom(cell, cell.starts("a")["t"])
    info = cell.info("t")
    assert (info.state, info.memory_allocated, info.retries_left) == (State.ASSIGNED, 600, 1)  # refilled at once
    cell.acked["a"] = 0
    oom(cell, cell.starts("a")["t"])
    info = cell.info("t")
    assert (info.state, info.memory_needed, info.retries_left) == (State.DELAYED, 1000, 0)  # the largest node
    cell.now += 60_000
    cell.run(cell.store.promote())
    cell.place()
    oom(cell, cell.starts("a")["t"])
    assert (cell.info("t").state, cell.info("t").reason) == (State.FAILED, "oom")


def test_killed_for_memory_at_its_maximum_it_fails(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t", memory=300)
    cell.place()
    oom(cell, cell.starts("a")["t"])
    assert (cell.info("t").state, cell.info("t").reason) == (State.FAILED, "oom")


def test_killed_with_less_than_its_need_it_goes_back_with_all_of_it(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t", memory=300, elastic="all")
    cell.place()
    start = cell.starts("a")["t"]
    assert start.elastic == "all"
    cell.run(cell.store.task_resize("a", "1", start.token, number=1, cpu=None, memory=50))
    oom(cell, start)
    cell.acked["a"] = 0
    again = cell.starts("a")["t"]
    assert (again.allocation, again.elastic) == (Resources(1, 300), "cpu")
    assert cell.info("t").retries_left == 0
