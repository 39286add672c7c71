"""The checker's own negative controls: each kind of damage is planted in the records of a real server, and exactly it
is found. A checker that misses one proves nothing."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from rq_sched import audit
from rq_sched.audit import Finding
from rq_sched.errors import WrongType
from rq_sched.keys import Keys
from rq_sched.link import AsyncLink, Link, Op, Request
from rq_sched.node import Start
from rq_sched.resources import Resources
from rq_sched.store import Report, Store
from rq_sched.task import TaskRequest
from tests.support import wait_for

T = TypeVar("T")
damaged = pytest.mark.no_audit("damage is planted")
K = Keys("NS")  # planted commands are written for this namespace and sent to the test's own


def plainly(*commands: Sequence[Any]) -> Op[list[Any]]:
    return (yield [tuple(command) for command in commands])


def request(task_id: str, cpu: int = 1, memory: int = 1000, **options: Any) -> TaskRequest:
    return TaskRequest(
        "a.b:c", options.pop("args", [1]), task_id=task_id, cpu_needed=cpu, memory_needed=memory, **options
    ).check()


@dataclass
class Scene:
    """A namespace with something in every state and index.

    Node n1 is up with 1 CPU and 1,000 MB free, n2 is draining with nothing on it, n3 is dead and reaped. On n1 are a1
    (assigned), r1 (running) and s1 (being stopped). Pending are p1 to p3 (2 CPU) and q1 (3 CPU); none of them fits.
    """

    link: Link
    store: Store
    tokens: dict[str, str]

    def plant(self, *commands: Sequence[Any]) -> None:
        prefix = self.store.keys.prefix
        mine = [[part.replace(K.prefix, prefix) if isinstance(part, str) else part for part in c] for c in commands]
        self.link.run(plainly(*mine))

    def found(self) -> dict[tuple[str, str | None], str]:
        problems = audit.problems(self.link.run(audit.check(self.store.keys.namespace)))
        return {(problem.check, problem.subject): problem.message for problem in problems}

    def member(self, task_id: str) -> str:
        """The task's entry in its queue."""
        (sequence,) = self.link.run(plainly(("HGET", self.store.keys.task(task_id), "n")))
        return str(sequence.decode()) + task_id


@pytest.fixture
def scene(link: Link, store: Store) -> Scene:
    run = link.run
    run(store.node_register("n1", "i1", Resources(4, 4000), ttl=600))
    run(store.submit([request("long", args=["x" * 200]), request("c1"), request("f1"), request("x1", delay=600)]))
    run(store.cancel("x1", requeue=False))
    started = start_all(link, store, acked=0)
    reports = [
        Report(started["long"], "long", "completed", 0.1, result=b"r" * 300, output=b"hello"),
        Report(started["c1"], "c1", "completed", 0.1, result=b"\xc0"),
        Report(started["f1"], "f1", "failed", 0.1, reason="error", error="boom " * 50),
    ]
    run(store.task_finish("n1", "i1", acked=3, reports=reports))
    run(store.submit([request("a1"), request("r1"), request("s1")]))
    started = start_all(link, store, acked=3, but="a1")
    run(store.cancel("s1", requeue=False))
    run(store.submit([*(request(f"p{i}", cpu=2, priority=i) for i in (1, 2, 3)), request("q1", cpu=3)]))
    run(store.submit([request("h1", cpu=2), request("d1", delay=600)]))
    run(store.hold("h1"))
    run(store.node_register("n2", "i2", Resources(8, 8000), ttl=600))
    run(store.node_drain("n2"))
    run(store.node_register("n3", "i3", Resources(1, 100), ttl=600))
    run(store.node_leave("n3", "i3"))
    run(store.reap("n3:i3:left"))
    while run(store.place()).more:
        pass
    return Scene(link, store, started)


def start_all(link: Link, store: Store, acked: int, but: str = "") -> dict[str, str]:
    """Places what fits on n1 and reports its start; the tokens by task."""
    link.run(store.place())
    orders = link.run(store.node_poll("n1", "i1", acked=acked))
    tokens = {order.task_id: order.token for order in orders if isinstance(order, Start)}
    link.run(store.task_start("n1", "i1", [token for name, token in tokens.items() if name != but]))
    return tokens


def test_the_scene_is_in_order(scene: Scene) -> None:
    findings = scene.link.run(audit.check(scene.store.keys.namespace))
    assert [finding.check for finding in findings] == list(audit.CHECKS)
    assert all(finding.ok for finding in findings), findings


# -- one kind of damage after the other: what is planted, and exactly what must be found ----------

TASK, LEDGER, NODE = K.task, K.ledger("n1", "i1"), K.node("n1")
P_QUEUE, P_HEADS = K.pending("2:1000"), K.classes("2:1024")

DAMAGE: dict[str, tuple[list[tuple[Any, ...]], set[tuple[str, str]]]] = {
    # -- records and the indexes of states
    "state without index": (
        [("HSET", TASK("d1"), "s", "held")],
        {("tasks", "d1"), ("indexes", "delayed d1")},
    ),
    "unknown state": ([("HSET", TASK("d1"), "s", "asleep")], {("tasks", "d1"), ("indexes", "delayed d1")}),
    "record without class": ([("HDEL", TASK("d1"), "c")], {("tasks", "d1")}),
    "delayed, index lost": ([("ZREM", K.delayed, "d1")], {("tasks", "d1")}),
    "held, index lost": ([("ZREM", K.held, "h1")], {("tasks", "h1")}),
    "completed, index lost": ([("ZREM", K.finished("completed"), "c1")], {("tasks", "c1")}),
    "wrong due time": ([("ZINCRBY", K.delayed, 1000, "d1")], {("tasks", "d1")}),
    "wrong end": ([("ZINCRBY", K.finished("failed"), 1000, "f1")], {("tasks", "f1")}),
    "in two indexes": ([("ZADD", K.held, 1, "c1")], {("indexes", "held c1")}),
    "record lost": ([("DEL", TASK("c1"))], {("indexes", "finished:completed c1")}),
    "delayed record lost": ([("DEL", TASK("d1"))], {("indexes", "delayed d1")}),
    "more retries than allowed": ([("HSET", TASK("d1"), "y", 1)], {("tasks", "d1")}),
    "more crashes than allowed": ([("HSET", TASK("d1"), "z", 3)], {("tasks", "d1")}),
    "number that is none": ([("HSET", TASK("d1"), "y", "x")], {("tasks", "d1")}),
    # -- queues and the indexes of their heads
    "pending, not queued": ([("ZREM", P_QUEUE, "@p1")], {("tasks", "p1"), ("counts", "pending")}),
    "head lost from its queue": (
        [("ZREM", P_QUEUE, "@p3")],
        {("tasks", "p3"), ("counts", "pending"), ("heads", "pending:2:1000"), ("heads", "classes:2:1024 @p3:2:1000")},
    ),
    "queued under another sequence": (
        [("ZREM", P_QUEUE, "@p1"), ("ZADD", P_QUEUE, -1, "00000000ffp1")],
        {("tasks", "p1"), ("indexes", "pending:2:1000 00000000ffp1")},
    ),
    "wrong priority in the queue": ([("ZADD", P_QUEUE, -1.5, "@p1")], {("tasks", "p1")}),
    "queued twice": (
        [("ZADD", K.pending("3:1001"), 0, "@q1"), ("ZADD", K.classes("3:1024"), 0, "@q1:3:1001")],
        {("indexes", "pending:3:1001 @q1"), ("counts", "pending")},
    ),
    "head lost from the index": (
        [("ZREM", P_HEADS, "@p3:2:1000"), ("ZREM", K.groups, "@p3:2:1000")],
        {("heads", "pending:2:1000")},
    ),
    "best head lost": ([("ZREM", K.groups, "@p3:2:1000")], {("heads", "classes:2:1024")}),
    "head with the wrong score": (
        [("ZADD", P_HEADS, -9, "@p3:2:1000")],
        {
            ("heads", "pending:2:1000"),
            ("heads", "classes:2:1024 @p3:2:1000"),
            ("heads", "classes:2:1024"),
            ("heads", "groups @p3:2:1000"),
        },
    ),
    "head of an empty class": (
        [("ZADD", P_HEADS, 7, "00000000ff2:1001")],
        {("heads", "classes:2:1024 00000000ff2:1001")},
    ),
    "class in the wrong group": (
        [("ZADD", K.classes("4:1024"), -3, "@p3:2:1000")],
        {("heads", "classes:4:1024 @p3:2:1000")},
    ),
    "wrong count": ([("HINCRBY", K.counts, "pending", 1)], {("counts", "pending")}),
    # -- nodes and ledgers
    "bare decrement on release": ([("HINCRBY", NODE, "free_memory", 1)], {("nodes", "n1")}),
    "half of an allocation": ([("HINCRBY", NODE, "free_memory", -1000)], {("nodes", "n1")}),
    "over-allocation": (
        [("HINCRBY", NODE, "free_cpu", -2), ("HSET", NODE, "total_cpu", 2), ("ZINCRBY", K.free, -2 * 2**24, "n1")],
        {("nodes", "n1")},
    ),
    "running miscounted": ([("HINCRBY", NODE, "running", 1)], {("nodes", "n1")}),
    "started miscounted": ([("HINCRBY", NODE, "started", 2)], {("nodes", "n1")}),
    "stale index of free": ([("ZINCRBY", K.free, 1, "n1")], {("nodes", "n1")}),
    "up and not in free": ([("ZREM", K.free, "n1")], {("nodes", "n1")}),
    "draining and in free": (
        [("ZADD", K.free, 8 * 2**24 + 8000, "n2")],
        {("nodes", "n2")},
    ),
    "dead and in nodes": ([("ZADD", K.nodes, 1, "n3")], {("nodes", "n3")}),
    "alive and not in nodes": ([("ZREM", K.nodes, "n1")], {("nodes", "n1")}),
    "indexed and unknown": ([("ZADD", K.nodes, 1, "n9")], {("nodes", "n9")}),
    "order lost": ([("LPOP", K.orders("n1", "i1"))], {("nodes", "n1")}),
    "allocation lost": ([("HDEL", LEDGER, "#r1")], {("nodes", "n1"), ("tasks", "r1")}),
    "allocation of nobody": (
        [
            ("HSET", LEDGER, "t.9", "gone:1:1000:a"),
            ("HINCRBY", NODE, "free_cpu", -1),
            ("HINCRBY", NODE, "free_memory", -1000),
            ("HINCRBY", NODE, "running", 1),
            ("ZADD", K.free, 0, "n1"),
        ],
        {("ledgers", "n1:i1 t.9")},
    ),
    "allocation of an ended task": (
        [("HSET", TASK("r1"), "s", "completed", "F", 5), ("ZADD", K.finished("completed"), 5, "r1")],
        {("ledgers", "n1:i1 #r1")},
    ),
    "allocation of another attempt": ([("HSET", TASK("r1"), "k", "t.9")], {("tasks", "r1"), ("ledgers", "n1:i1 #r1")}),
    "allocation of another size": ([("HSET", TASK("r1"), "A", "1:900")], {("tasks", "r1")}),
    "wrong mark": ([("HSET", LEDGER, "#r1", "r1:1:1000:a")], {("tasks", "r1"), ("nodes", "n1")}),
    "entry that is none": (
        [("HSET", LEDGER, "#r1", "what")],
        {("tasks", "r1"), ("nodes", "n1"), ("ledgers", "n1:i1 #r1")},
    ),
    "task on an incarnation that is gone": (
        [
            ("HSET", K.ledger("n3", "i3"), "t.1", "r1:1:1000:r"),
            ("HSET", TASK("r1"), "k", "t.1", "i", "n3:i3"),
            ("HDEL", LEDGER, "#r1"),
            ("HINCRBY", NODE, "free_cpu", 1),
            ("HINCRBY", NODE, "free_memory", 1000),
            ("HINCRBY", NODE, "running", -1),
            ("HINCRBY", NODE, "started", -1),
            ("ZADD", K.free, 2 * 2**24 + 2000, "n1"),
            ("HSET", K.node("n3"), "free_cpu", 0, "free_memory", -900, "total_cpu", 1, "running", 1, "started", 1),
            ("ZADD", K.dirty, 1, "n1"),
        ],
        {("ledgers", "node:n3:i3:tasks"), ("nodes", "n3")},
    ),
    "two incarnations, double capacity": (
        [
            (
                "HSET",
                NODE,
                "incarnation",
                "i9",
                "free_cpu",
                4,
                "free_memory",
                4000,
                "running",
                0,
                "started",
                0,
                "ordered",
                0,
                "acked",
                0,
            ),
            ("ZADD", K.free, 4 * 2**24 + 4000, "n1"),
            ("ZADD", K.dirty, 1, "n1"),
        ],
        {("ledgers", "node:n1:i1:tasks"), ("keys", "node:n1:i1:orders")},
    ),
    # -- work that is overlooked
    "room that nobody was told of": (
        [("HSET", NODE, "total_cpu", 6, "free_cpu", 3, "free_memory", 1000), ("ZADD", K.free, 3 * 2**24 + 1000, "n1")],
        {("room", name) for name in ("p1", "p2", "p3", "q1")},
    ),
    "room for one class only": (
        [("HSET", NODE, "total_cpu", 5, "free_cpu", 2), ("ZADD", K.free, 2 * 2**24 + 1000, "n1")],
        {("room", name) for name in ("p1", "p2", "p3")},
    ),
    "room, but the node is dirty": (
        [
            ("HSET", NODE, "total_cpu", 6, "free_cpu", 3),
            ("ZADD", K.free, 3 * 2**24 + 1000, "n1"),
            ("ZADD", K.dirty, 1, "n1"),
        ],
        set(),
    ),
    "room, but one class is fresh": (
        [
            ("HSET", NODE, "total_cpu", 6, "free_cpu", 3),
            ("ZADD", K.free, 3 * 2**24 + 1000, "n1"),
            ("ZADD", K.fresh, -3, "@p3:2:1000"),
        ],
        {("room", "q1")},
    ),
    # -- keys
    "unknown key": ([("SET", K.prefix + "lock:3", 1)], {("keys", "lock:3")}),
    "wrong type": (
        [("DEL", K.task("c1")), ("SET", K.task("c1"), 1), ("ZREM", K.finished("completed"), "c1")],
        {("keys", "task:c1")},
    ),
    "arguments of nobody": ([("SET", K.payload("nobody"), 1)], {("keys", "payload:nobody")}),
    "output of nobody": ([("SET", K.log("nobody"), 1)], {("keys", "log:nobody")}),
    "result unmentioned": ([("HDEL", TASK("long"), "rx")], {("keys", "result:long")}),
    "arguments lost": ([("DEL", K.payload("long"))], {("tasks", "long")}),
    "result cut short": ([("SET", K.result("long"), "r")], {("tasks", "long")}),
    "orders of nobody": ([("RPUSH", K.orders("n3", "i0"), 1)], {("keys", "node:n3:i0:orders")}),
}


def filled_in(scene: Scene, part: Any) -> Any:
    """``@p1`` is p1's entry in its queue, ``@p1:CLASS`` its class's entry among the heads, ``#r1`` r1's token."""
    if not isinstance(part, str) or ("@" not in part and "#" not in part):
        return part
    before, at, rest = part.partition("@")
    if at:
        task_id, colon, task_class = rest.partition(":")
        member = scene.member(task_id)
        return before + (member[:10] + task_class if colon else member)
    before, _, task_id = part.partition("#")
    return before + scene.tokens[task_id]


@damaged
@pytest.mark.parametrize("kind", DAMAGE)
def test_planted_damage_is_found_exactly(scene: Scene, kind: str) -> None:
    commands, expected = DAMAGE[kind]
    right = {(check, filled_in(scene, subject)) for check, subject in expected}
    scene.plant(*([filled_in(scene, part) for part in command] for command in commands))
    found = scene.found()
    assert set(found) == right, found


# -- while tasks move, at any size ----------------------------------------------------------------


class Churn:
    """Threads that submit, place, start and finish as fast as they can, each with a node of its own."""

    def __init__(self, url: str, store: Store, threads: int = 2) -> None:
        self._stop = threading.Event()
        self.finished = 0
        self._threads = [threading.Thread(target=self._turn, args=(url, store, f"m{i}")) for i in range(threads)]

    def _turn(self, url: str, store: Store, node: str) -> None:
        link = Link(url)
        link.run(store.node_register(node, "i", Resources(4, 4000), ttl=600))
        acked, turn = 0, 0
        reports: list[Report] = []
        while not self._stop.is_set() or reports:
            turn += 1
            if not self._stop.is_set():
                mixed = [request(f"{node}-{turn}-{j}", cpu=1 + j, memory=300 * j + 1, priority=j) for j in range(4)]
                link.run(store.submit(mixed))
                link.run(store.hold(f"{node}-{turn}-0"))
                link.run(store.place())
                link.run(store.unhold(f"{node}-{turn}-0"))
            orders = link.run(store.task_finish(node, "i", acked=acked, reports=reports)).orders
            acked = orders[-1].number if orders else acked
            starts = [order for order in orders if isinstance(order, Start)]
            link.run(store.task_start(node, "i", [order.token for order in starts]))
            reports = [Report(order.token, order.task_id, "completed", 0.0, result=b"\xc0") for order in starts]
            self.finished += len(reports)
        link.close()

    def goes_on(self, by: int = 1) -> None:
        """Returns when so many more tasks have finished."""
        target = self.finished + by
        wait_for(lambda: self.finished >= target)

    def __enter__(self) -> Churn:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_no_false_alarm_while_tasks_move(redis_url: str, link: Link, store: Store) -> None:
    with Churn(redis_url, store) as churn:
        churn.goes_on(50)
        for _ in range(15):
            assert audit.problems(link.run(audit.check(store.keys.namespace))) == []
            churn.goes_on()


@damaged
def test_damage_is_found_while_tasks_move(redis_url: str, scene: Scene) -> None:
    with Churn(redis_url, scene.store) as churn:
        churn.goes_on(50)
        scene.plant(("ZREM", K.delayed, "d1"), ("HINCRBY", K.node("n2"), "free_cpu", 1), ("ZADD", K.held, 1, "c1"))
        assert set(scene.found()) == {("tasks", "d1"), ("nodes", "n2"), ("indexes", "held c1")}


def measured(op: Op[T], steps: list[int]) -> Op[T]:
    """The same op; ``steps`` gets the number of requests of each step."""
    replies: list[Any] | None = None
    while True:
        try:
            requests: Sequence[Request] = next(op) if replies is None else op.send(replies)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        steps.append(len(requests))
        replies = yield requests


def test_steps_and_memory_do_not_grow_with_the_tasks(link: Link, store: Store) -> None:
    seen: list[tuple[int, int, int]] = []
    for size in (2_000, 8_000):
        link.run(store.submit([request(f"t{size}-{i}", cpu=1 + i % 5) for i in range(size)]))
        steps: list[int] = []
        tracemalloc.start()
        link.run(measured(audit.check(store.keys.namespace), steps))
        seen.append((max(steps), tracemalloc.get_traced_memory()[1], len(steps)))
        tracemalloc.stop()
    (small_step, small_memory, small_count), (large_step, large_memory, large_count) = seen
    assert large_step <= 1.5 * small_step <= 1.5 * 6 * audit.BITE, seen
    assert large_memory < 1.5 * small_memory, seen
    assert large_count > 2 * small_count, seen


@damaged
def test_findings_beyond_the_limit_are_counted(link: Link, store: Store) -> None:
    link.run(store.submit([request(f"t{i}", delay=600) for i in range(50)]))
    link.run(plainly(("DEL", store.keys.delayed)))
    found = audit.problems(link.run(audit.check(store.keys.namespace, limit=3)))
    assert [(finding.check, finding.subject is None) for finding in found] == [("tasks", False)] * 3 + [("tasks", True)]
    assert found[-1].message == "47 more seem to be wrong"


@damaged
def test_a_key_of_a_wrong_type_that_is_needed(scene: Scene) -> None:
    scene.plant(("DEL", K.groups), ("SET", K.groups, 1))
    with pytest.raises(WrongType):
        scene.found()


def test_leftovers(link: Link, store: Store) -> None:
    """I8: what is done and forgotten leaves nothing."""
    run = link.run

    def left() -> set[str | None]:
        return {finding.subject for finding in audit.problems(run(audit.leftovers(store.keys.namespace)))}

    run(store.node_register("n1", "i1", Resources(1, 1000), ttl=600))
    run(store.submit([request("t1", args=["x" * 200])]))
    assert left() == {"task:t1", "payload:t1", "pending:1:1000", "classes:1:1024", "groups"}
    tokens = start_all(link, store, acked=0)
    assert left() == {"task:t1", "payload:t1", "node:n1:i1:tasks", "node:n1:i1:orders"}
    report = Report(tokens["t1"], "t1", "failed", 0.1, reason="error", error="boom" * 50, output=b"out")
    run(store.task_finish("n1", "i1", acked=1, reports=[report]))
    assert left() == {"task:t1", "payload:t1", "result:t1", "log:t1", "finished:failed"}
    run(store.forget_ids(["t1"]))
    assert left() == set()


async def checked(link: AsyncLink, namespace: str) -> list[Finding]:
    return await link.run(audit.check(namespace))


def test_it_runs_on_an_async_link_as_well(scene: Scene, alink: Callable[[], Any]) -> None:
    async def main() -> list[Finding]:
        async with alink() as link:
            return await checked(link, scene.store.keys.namespace)

    assert all(finding.ok for finding in asyncio.run(main()))
