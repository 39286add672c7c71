"""No script touches more the larger its cell is (I9): the commands of each call, counted by a real server, in a cell
and in one that is eight times as large in everything. A call that takes a batch has more than one before it in both.

A command counts as one however much it reads: ``HGETALL`` of a ledger, say. What that costs, benches measure."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from rq_sched.audit.mend import Mends
from rq_sched.errors import TaskNeeded
from rq_sched.link import Link, Op
from rq_sched.model.due import parse_times
from rq_sched.model.orders import Start
from rq_sched.model.schedule import Schedule
from rq_sched.model.task import TaskRequest
from rq_sched.store.attempts import REFILL
from rq_sched.store.base import BATCH
from rq_sched.store.schedules import MOVES
from rq_sched.store.scheduling import REAP_BATCH
from tests.conftest import drop
from tests.lua.cell import Cell

SMALL, LARGE = 80, 640
TTL = 1000.0
MORE, FEW = 1.25, 10
"""Times the commands, and commands on top, that the large cell may take: looks depend on what they find."""
WIDE = "submit of one that waits for 300"
"""It takes several calls."""
MOST = 5 * BATCH
"""Commands of any call."""


class Full(Cell):
    """A cell with so many of everything: nodes at work, one of them large; tasks that wait in one queue and in many;
    delayed, held and ended ones; nodes that have gone.

    Parameters:
        size: how many of each.
    """

    def __init__(self, link: Link, namespace: str, size: int) -> None:
        super().__init__(link, namespace)
        self.size = size
        self.node("large", size, 100 * size, ttl=TTL)
        for n in range(size):
            self.node(f"n{n}", 4, 1000, ttl=TTL)
        self.many("r", 5 * size)
        self.place()
        self.at_large, self.at_small = self._started("large"), self._started("n0")
        self.many("w", 2 * size, cpu=2)
        for n in range(size):
            self.submit(f"c{n}", cpu=3, memory=100 + n)
        self.many("d", 2 * size, delay=1.0)
        self.many("h", 4)
        self.many("x", 2 * size)
        for n in range(2 * size):
            self.run(self.store.cancel(f"x{n}", requeue=False))
        for n in range(size):
            self.node(f"g{n}", 1, 100, ttl=TTL)
            self.run(self.store.node_leave(f"g{n}", "1"))
            self.run(self.store.reap(f"g{n}:1:left"))
        self.place()
        self.submit("one", "old", cpu=10**6)  # many wait for each of these
        self.many("g", 3 * size, after=["one"])
        self.run(self.store.cancel("old", requeue=False))
        self.many("k", 3 * size, after=["old"], on_failure="keep")
        self.submit("p", cpu=10**6, array=f"1-{1000 * size}")
        for n in range(1, size + 1):
            self.run(self.store.cancel(f"p/{n}", requeue=False))
        request, hourly = TaskRequest("m:f").check(), parse_times(None, "1h", None)
        for n in range(size):
            self.run(self.store.schedule_add(Schedule(f"every{n}", hourly, request)))

    def many(self, name: str, count: int, **fields: Any) -> None:
        for first in range(0, count, BATCH):
            self.submit(*(f"{name}{n}" for n in range(first, min(first + BATCH, count))), **fields)

    def _started(self, node_id: str) -> list[Start]:
        starts: list[Start] = []
        while found := [order for order in self.orders(node_id) if isinstance(order, Start)]:
            starts += found
        for first in range(0, len(starts), BATCH):
            self.started(node_id, *starts[first : first + BATCH])
        return starts

    def commands(self, act: Callable[[], object]) -> int:
        """How many it takes."""
        before = self._counted()
        act()
        return self._counted() - before - 1

    def _counted(self) -> int:
        def op() -> Op[Any]:
            return (yield [("INFO", "stats")])[0]

        return int(self.run(op()).decode().partition("total_commands_processed:")[2].split()[0])


def life(cell: Full) -> dict[str, Callable[[], object]]:
    """One call of each script, in an order in which each finds much before it."""
    return {**life_of_tasks(cell), **life_of_graphs(cell), **life_of_nodes(cell)}


def life_of_tasks(cell: Full) -> dict[str, Callable[[], object]]:
    run, store = cell.run, cell.store

    def last(n: int) -> str:
        """One of those that wait longest."""
        return f"w{2 * cell.size - n}"

    return {
        "submit of one": lambda: cell.submit("single"),
        "submit of an array": lambda: cell.submit("a", cpu=3, memory=100, array=f"1-{1000 * cell.size}"),
        "an element is named": lambda: run(store.hold(f"a/{500 * cell.size}")),
        "an array behind its equals": lambda: run(store.cancel("a")),
        "cancel of an array": lambda: run(store.cancel("a", requeue=False)),
        "submit of a batch": lambda: cell.many("b", BATCH),
        "place": lambda: run(store.place()),
        "register": lambda: cell.node("new", 500, 100_000, ttl=TTL),
        "place on a large node that is empty": lambda: run(store.place()),
        "heartbeat": lambda: run(store.node_heartbeat("n1", "1", acked=0)),
        "orders": lambda: run(store.node_poll("n1", "1", acked=0)),
        "start": lambda: run(store.task_start("n1", "1", ["no such token"])),
        "finish of one": lambda: cell.finish("n0", cell.at_small[0]),
        "finish on the large node": lambda: cell.finish("large", cell.at_large[0]),
        "grow": lambda: run(store.task_grow("large", "1", [start.token for start in cell.at_large[:REFILL]])),
        "ledger": lambda: run(store.node_ledger("large", "1")),
        "cancel": lambda: run(store.cancel(last(1), requeue=False)),
        "cancel of what runs": lambda: run(store.cancel(cell.at_large[1].task_id, requeue=False)),
        "hold": lambda: run(store.hold(last(2))),
        "unhold": lambda: run(store.unhold(last(2))),
        "prioritize": lambda: run(store.prioritize(last(3), 5)),
        "requeue": lambda: run(store.requeue("x0")),
        "submit of a batch with deadlines": lambda: cell.many("e", BATCH, deadline=1),
    }


def life_of_graphs(cell: Full) -> dict[str, Callable[[], object]]:
    run, store = cell.run, cell.store

    def forget_needed() -> None:
        with pytest.raises(TaskNeeded):
            run(store.forget_ids(["old"]))

    return {
        "submit of one that waits": lambda: cell.submit("waits", after=["one", "w7"]),
        WIDE: lambda: cell.submit("wide", after=[f"w{n}" for n in range(50)] + [f"r{n}" for n in range(250)]),
        "it is counted anew": lambda: run(Mends(store.keys).after("waits")),
        "forget what others need": forget_needed,
        "submit of an array that waits for elements": lambda: cell.submit(
            "q", cpu=10**6, array=f"1-{1000 * cell.size}", after_each="p"
        ),
        "release of elements": lambda: run(store.release()),
        "cancel of one that waits for elements": lambda: run(store.cancel("q", requeue=False)),
        "end of one that many wait for": lambda: run(store.cancel("one", requeue=False)),
        "release": lambda: run(store.release()),
    }


def life_of_nodes(cell: Full) -> dict[str, Callable[[], object]]:
    run, store = cell.run, cell.store

    def later(seconds: float) -> None:
        cell.now += round(1000 * seconds)

    def long_later() -> None:
        """Every lease has run out, twice: the first time it may have been an outage."""
        for _ in range(2):
            later(TTL + 1)
            run(store.sweep(limit=0))
        later(TTL + 1)

    def reap() -> None:
        """Its commands take the batch as a whole."""
        reaped, left = run(store.reap("large:1:crashed"))
        assert reaped == REAP_BATCH, "no full batch before it"
        assert left > 0, "no more than a batch before it"

    return {
        "reserve": lambda: run(store.reserve()),
        "sweep": lambda: run(store.sweep()),
        "a large node's end": lambda: run(store.node_leave("large", "1", crashed=True)),
        "reap": reap,
        "a moment": lambda: later(2),
        "promote": lambda: run(store.promote()),
        "expire": lambda: run(store.expire()),
        "forget": lambda: run(store.forget(limit=BATCH)),
        "forget nodes": lambda: run(store.forget_nodes(older_than=0)),
        "drain of a large node": lambda: run(store.node_drain("new", requeue=True)),
        "fault": lambda: run(store.node_fault("n3", "1", "its folder is gone")),
        "recovery": lambda: run(store.node_fault("n3", "1", "")),
        "drain": lambda: run(store.node_drain("n2", requeue=True)),
        "undrain": lambda: run(store.node_undrain("n2")),
        "reload": lambda: run(store.node_reload("n2")),
        "sweeps after an outage": long_later,
        "sweep of all that ran out": lambda: run(store.sweep()),
        "hours": lambda: later(10_000),
        "schedules that are due": lambda: run(store.make_due(limit=MOVES)),
    }


@pytest.fixture(scope="module")
def counts(redis_url: str) -> dict[str, tuple[int, int]]:
    """Of each call, the commands in the small cell and in the large one."""
    found: list[dict[str, int]] = []
    for size in (SMALL, LARGE):
        link = Link(redis_url)
        cell = Full(link, f"t-{uuid.uuid4().hex[:12]}", size)
        taken: dict[str, int] = {}
        for name, act in life(cell).items():
            taken[name] = cell.commands(act)
        link.run(drop(cell.store.keys.namespace))
        link.close()
        found.append(taken)
    return {name: (found[0][name], found[1][name]) for name in found[0]}


def test_no_call_takes_more_in_a_large_cell(counts: dict[str, tuple[int, int]]) -> None:
    more = {name: both for name, both in counts.items() if both[1] > MORE * both[0] + FEW}
    assert not more, f"commands in a cell of {SMALL} and of {LARGE} of everything: {more}"


def test_no_call_takes_many(counts: dict[str, tuple[int, int]]) -> None:
    """Those that take batches of 64 take most: one to four commands an item."""
    many = {name: both for name, both in counts.items() if max(both) > MOST and name != WIDE}
    assert not many, many
    batches = {
        "end of one that many wait for": BATCH,
        "release": BATCH,
        "promote": BATCH,
        "expire": BATCH,
        "forget nodes": BATCH,
        "sweep of all that ran out": BATCH,
        "schedules that are due": MOVES,
    }
    for name, batch in batches.items():
        assert min(counts[name]) > batch, f"{name} had no full batch before it: {counts[name]}"
