"""The checker's own negative controls: each kind of damage is planted in the records of a real server, and exactly it
is found. A checker that misses one proves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rq_sched import audit
from rq_sched.link import Link
from rq_sched.model.arrays import SEQUENCE
from rq_sched.store import Store
from tests.faults.scene import K, Planted, Scene, build, damaged
from tests.support.records import Altered, attempt, outcome, request


@pytest.fixture
def scene(link: Link, store: Store) -> Scene:
    return build(link, store)


def test_the_scene_is_in_order(scene: Scene) -> None:
    findings = scene.link.run(audit.check(scene.store.keys.namespace))
    assert [finding.check for finding in findings] == list(audit.CHECKS)
    assert all(finding.ok for finding in findings), findings


# -- one kind of damage after the other: what is planted, and exactly what must be found ----------

TASK, LEDGER, NODE = K.task, K.ledger("n1", "i1"), K.node("n1")
P_QUEUE, P_HEADS = K.pending("2:1000"), K.classes("2:1024")
LATE = f"{255:0{SEQUENCE}x}"  # a sequence that no task of the scene has

DAMAGE: dict[str, tuple[list[Planted], set[tuple[str, str]]]] = {
    # -- records and the indexes of states
    "state without index": (
        [request("d1", state="held")],
        {("tasks", "d1"), ("indexes", "delayed d1")},
    ),
    "unknown state": ([request("d1", state="asleep")], {("tasks", "d1"), ("indexes", "delayed d1")}),
    "record without class": ([request("d1", **{"class": None})], {("tasks", "d1")}),
    "delayed, index lost": ([("ZREM", K.delayed, "d1")], {("tasks", "d1")}),
    "held, index lost": ([("ZREM", K.held, "h1")], {("tasks", "h1")}),
    "completed, index lost": ([("ZREM", K.finished("completed"), "c1")], {("tasks", "c1")}),
    "wrong due time": ([("ZINCRBY", K.delayed, 1000, "d1")], {("tasks", "d1")}),
    "wrong end": ([("ZINCRBY", K.finished("failed"), 1000, "f1")], {("tasks", "f1")}),
    "in two indexes": ([("ZADD", K.held, 1, "c1")], {("indexes", "held c1")}),
    "record lost": ([("DEL", TASK("c1"), K.ended("c1"))], {("indexes", "finished:completed c1")}),
    "delayed record lost": ([("DEL", TASK("d1"))], {("indexes", "delayed d1")}),
    "more retries than allowed": ([request("d1", retries_used=1)], {("tasks", "d1")}),
    "more crashes than allowed": ([request("d1", crashes=3)], {("tasks", "d1")}),
    "number that is none": ([request("d1", retries_used="x")], {("tasks", "d1")}),
    # -- queues and the indexes of their heads
    "pending, not queued": ([("ZREM", P_QUEUE, "@p1")], {("tasks", "p1"), ("counts", "pending")}),
    "head lost from its queue": (
        [("ZREM", P_QUEUE, "@p3")],
        {("tasks", "p3"), ("counts", "pending"), ("heads", "pending:2:1000"), ("heads", "classes:2:1024 @p3:2:1000")},
    ),
    "queued under another sequence": (
        [("ZREM", P_QUEUE, "@p1"), ("ZADD", P_QUEUE, -1, LATE + "p1")],
        {("tasks", "p1"), ("indexes", f"pending:2:1000 {LATE}p1")},
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
        [("ZADD", P_HEADS, 7, LATE + "2:1001")],
        {("heads", f"classes:2:1024 {LATE}2:1001")},
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
    "stale index of totals": ([("ZINCRBY", K.totals, 1, "n1")], {("nodes", "n1")}),
    "stale index of ends": ([("ZADD", K.ends, 1, "n1")], {("nodes", "n1")}),
    "up and not in free": ([("ZREM", K.free, "n1")], {("nodes", "n1")}),
    "draining and in free": (
        [("ZADD", K.free, 8 * 2**24 + 8000, "n2")],
        {("nodes", "n2")},
    ),
    "faulty without a fault": (
        [("HSET", NODE, "state", "faulty"), *(("ZREM", key, "n1") for key in (K.free, K.totals, K.ends))],
        {("nodes", "n1")},
    ),
    "up with a fault": ([("HSET", NODE, "fault", "no disk")], {("nodes", "n1")}),
    "dead and in nodes": ([("ZADD", K.nodes, 1, "n3")], {("nodes", "n3")}),
    "alive and not in nodes": ([("ZREM", K.nodes, "n1")], {("nodes", "n1")}),
    "indexed and unknown": ([("ZADD", K.nodes, 1, "n9")], {("nodes", "n9")}),
    "last order lost": ([("RPOP", K.orders("n1", "i1"))], {("nodes", "n1")}),
    "order lost in between": (
        [("LSET", K.orders("n1", "i1"), 1, "x"), ("LREM", K.orders("n1", "i1"), 1, "x")],
        {("nodes", "n1")},
    ),
    "orders lost": ([("DEL", K.orders("n1", "i1"))], {("nodes", "n1")}),
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
        [("HDEL", K.placed, "r1"), outcome("r1", state="completed", at=5), ("ZADD", K.finished("completed"), 5, "r1")],
        {("ledgers", "n1:i1 #r1")},
    ),
    "an attempt without a task": (
        [("HSET", K.placed, "gone", "t.9 n1:i1 5 1")],
        {("indexes", "placed gone")},
    ),
    "an attempt of one that waits": (
        [("HSET", K.placed, "d1", "t.9 n1:i1 5 1")],
        {("tasks", "d1"), ("indexes", "delayed d1")},
    ),
    "an attempt that says nothing": ([("HSET", K.placed, "c1", "what")], {("indexes", "placed c1")}),
    "attempt lost": ([("HDEL", K.placed, "r1")], {("tasks", "r1"), ("ledgers", "n1:i1 #r1")}),
    "outcome lost": ([("DEL", K.ended("c1"))], {("tasks", "c1"), ("indexes", "finished:completed c1")}),
    "outcome of nobody": ([("SET", K.ended("nobody"), "state=failed\nat=5")], {("keys", "ended:nobody")}),
    "an outcome that says nothing": (
        [("SET", K.ended("c1"), "what")],
        {("tasks", "c1"), ("indexes", "finished:completed c1")},
    ),
    "allocation of another attempt": ([attempt("r1", token="t.9")], {("tasks", "r1"), ("ledgers", "n1:i1 #r1")}),
    "allocation of another size": ([attempt("r1", allocated="1:900")], {("tasks", "r1")}),
    "wrong mark": ([("HSET", LEDGER, "#r1", "r1:1:1000:a")], {("tasks", "r1"), ("nodes", "n1")}),
    "entry that is none": (
        [("HSET", LEDGER, "#r1", "what")],
        {("tasks", "r1"), ("nodes", "n1"), ("ledgers", "n1:i1 #r1")},
    ),
    "entry without a name": (
        [("HSET", LEDGER, "", "r1:1:1000:r")],
        {("nodes", "n1"), ("ledgers", "n1:i1 ")},
    ),
    "task on an incarnation that is gone": (
        [
            ("HSET", K.ledger("n3", "i3"), "t.1", "r1:1:1000:r"),
            attempt("r1", token="t.1", node="n3:i3"),
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
        [
            ("ZADD", K.totals, 6 * 2**24 + 4000, "n1"),
            ("HDEL", NODE, "has"),
            ("HSET", NODE, "total_cpu", 6, "free_cpu", 3, "free_memory", 1000),
            ("ZADD", K.free, 3 * 2**24 + 1000, "n1"),
        ],
        {("room", name) for name in ("p1", "p2", "p3", "q1")},
    ),
    "room for one class only": (
        [
            ("ZADD", K.totals, 5 * 2**24 + 4000, "n1"),
            ("HDEL", NODE, "has"),
            ("HSET", NODE, "total_cpu", 5, "free_cpu", 2),
            ("ZADD", K.free, 2 * 2**24 + 1000, "n1"),
        ],
        {("room", name) for name in ("p1", "p2", "p3")},
    ),
    "room, but the node is dirty": (
        [
            ("ZADD", K.totals, 6 * 2**24 + 4000, "n1"),
            ("HDEL", NODE, "has"),
            ("HSET", NODE, "total_cpu", 6, "free_cpu", 3),
            ("ZADD", K.free, 3 * 2**24 + 1000, "n1"),
            ("ZADD", K.dirty, 1, "n1"),
        ],
        set(),
    ),
    "room, but one class is fresh": (
        [
            ("ZADD", K.totals, 6 * 2**24 + 4000, "n1"),
            ("HDEL", NODE, "has"),
            ("HSET", NODE, "total_cpu", 6, "free_cpu", 3),
            ("ZADD", K.free, 3 * 2**24 + 1000, "n1"),
            ("ZADD", K.fresh, -3, "@p3:2:1000"),
        ],
        {("room", "q1")},
    ),
    # -- keys
    "unknown key": ([("SET", K.prefix + "lock:3", 1)], {("keys", "lock:3")}),
    "wrong type": (
        [
            ("DEL", K.task("c1"), K.ended("c1")),
            ("SADD", K.task("c1"), 1),
            ("ZREM", K.finished("completed"), "c1"),
        ],
        {("keys", "task:c1")},
    ),
    "arguments of nobody": ([("SET", K.payload("nobody"), 1)], {("keys", "payload:nobody")}),
    "output of nobody": ([("SET", K.log("nobody"), 1)], {("keys", "log:nobody")}),
    "result unmentioned": ([outcome("long", stored=None)], {("keys", "result:long")}),
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
        return before + (member[:SEQUENCE] + task_class if colon else member)
    before, _, task_id = part.partition("#")
    return before + scene.tokens[task_id]


def filled(scene: Scene, damage: Sequence[Planted]) -> list[Planted]:
    return [one if isinstance(one, Altered) else [filled_in(scene, part) for part in one] for one in damage]


@damaged
@pytest.mark.parametrize("kind", DAMAGE)
def test_planted_damage_is_found_exactly(scene: Scene, kind: str) -> None:
    commands, expected = DAMAGE[kind]
    right = {(check, filled_in(scene, subject)) for check, subject in expected}
    scene.plant(*filled(scene, commands))
    found = scene.found()
    assert set(found) == right, found
