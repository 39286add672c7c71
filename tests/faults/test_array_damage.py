"""Arrays that are damaged: the checker names each damage, and the repair mends it."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.audit.mend import Mends, repair
from rq_sched.link import Link
from rq_sched.model.resources import Resources
from rq_sched.store import Store
from rq_sched.store.answers import EndReport
from tests.faults.scene import K, Planted, Scene, damaged, plainly, start_all
from tests.faults.scene import request as task
from tests.support.records import Altered, outcome, request

A, E, QUEUE = K.array("a"), K.array("e"), K.pending("4:1000")


@pytest.fixture
def scene(link: Link, store: Store) -> Scene:
    """On n1 (4 CPU) run e/1 and e/2 of the array e (1 to 4), of which e/3 and e/4 have ended. Of the array a (1 to 9, 4
    CPU) a/3, a/4 and a/6 were made before their turn (a/6 is held), and it waits; d is delayed; of z (1 to 5) nothing
    was made when it was cancelled, and z/2 was requeued and is held."""
    run = link.run
    run(store.node_register("n1", "i1", Resources(4, 4000), ttl=600))
    run(store.submit([task("e", array="1-4")]))
    tokens = start_all(link, store, acked=0)
    reports = [EndReport(tokens[f"e/{i}"], f"e/{i}", "completed", 0.1, result=b"\xc0") for i in (3, 4)]
    run(store.task_finish("n1", "i1", acked=4, reports=reports))
    run(store.submit([task("z", cpu=4, array="1-5"), task("a", cpu=4, array="1-9", args=["x" * 99])]))
    run(store.submit([task("d", array="1-3", delay=600)]))
    run(store.cancel("z", requeue=False))
    run(store.requeue("z/2"))
    for index in (4, 3):
        run(store.prioritize(f"a/{index}", 1))
    run(store.hold("a/6"))
    run(store.hold("z/2"))
    while run(store.place()).more:
        pass
    return Scene(link, store, tokens)


def test_the_scene_is_in_order(scene: Scene) -> None:
    assert scene.found() == {}
    infos = {i.task_id: i for i in scene.link.run(scene.store.status(["a", "e", "d"])) if i}
    assert infos["a"].elements == {"waiting": 6, "active": 3, "completed": 0, "failed": 0, "cancelled": 0}
    assert infos["e"].elements == {"waiting": 0, "active": 2, "completed": 2, "failed": 0, "cancelled": 0}
    before = snapshot(scene)
    assert scene.link.run(repair(scene.store.keys.namespace)) == []
    mends = Mends(scene.store.keys)
    ops = [mends.task(t) for t in ("a", "d", "e", "z", "a/3", "a/6", "a/9", "e/1", "e/3", "z/1", "z/2")]
    ops += [mends.entry(*which) for which in (("arrays", "a"), ("arrays", "d"), ("live:a", "3"), ("live:e", "1"))]
    ops += [mends.entry("pending:4:1000", entry(scene)), mends.entry("delayed", "d"), mends.entry("held", "a/6")]
    ops += [
        mends.key(*which) for which in (("live", "a"), ("apart", "a"), ("apart", "z"), ("payload", "a"), ("array", "a"))
    ]
    for op in ops:
        assert scene.link.run(op) == ""
    assert snapshot(scene) == before


DAMAGE: dict[str, tuple[list[Planted], set[tuple[str, str]]]] = {
    "rest lost from its queue": ([("ZREM", QUEUE, "@a")], {("tasks", "a"), ("counts", "pending")}),
    "rest with the wrong score": ([("ZADD", QUEUE, 5, "@a")], {("tasks", "a")}),
    "rest of another element": (
        [("HSET", A, "next", 2, "completed", 1)],
        {("tasks", "a"), ("indexes", "pending:4:1000 @a"), ("counts", "pending")},
    ),
    "not listed": ([("SREM", K.arrays, "a")], {("tasks", "a"), ("counts", "pending")}),
    "listed, and nothing is left": ([("SADD", K.arrays, "e")], {("tasks", "e"), ("indexes", "arrays e")}),
    "listed, and not there": ([("SADD", K.arrays, "q")], {("indexes", "arrays q")}),
    "element forgotten by its array": ([("SREM", K.live("e"), 1)], {("tasks", "e"), ("tasks", "e/1")}),
    "element goes on that has ended": (
        [("SADD", K.live("e"), 3)],
        {("tasks", "e"), ("indexes", "live:e 3"), ("tasks", "e/3")},
    ),
    "element goes on that isn't made": ([("SADD", K.live("a"), 9)], {("tasks", "a"), ("indexes", "live:a 9")}),
    "miscounted ends": ([("HINCRBY", E, "completed", 1)], {("tasks", "e")}),
    "ends uncounted": ([("HDEL", E, "completed")], {("tasks", "e")}),
    "miscounted apart": ([("HSET", A, "apart", 2)], {("tasks", "a"), ("counts", "pending")}),
    "runs of nobody": ([("ZADD", K.apart("q"), 1, 2)], {("keys", "apart:q")}),
    "goes on, of nobody": ([("SADD", K.live("q"), 2)], {("keys", "live:q"), ("indexes", "live:q 2")}),
    "record lost": (
        [("DEL", K.task("d"), K.array("d"))],
        {("indexes", "delayed d"), ("indexes", "arrays d")},
    ),
    "request lost": (
        [("DEL", K.task("d"))],
        {("indexes", "delayed d"), ("indexes", "arrays d"), ("keys", "array:d")},
    ),
    "request of another type": (
        [("DEL", K.task("d")), ("SADD", K.task("d"), "not ours")],
        {("keys", "task:d"), ("keys", "array:d"), ("indexes", "delayed d"), ("indexes", "arrays d")},
    ),
    "next lost": (
        [("HDEL", A, "next")],
        {("tasks", "a"), ("indexes", "pending:4:1000 @a"), ("counts", "pending"), ("indexes", "arrays a")},
    ),
    "waits, and nothing is left": ([request("e", state="held")], {("tasks", "e")}),
    "runs, and something is left": (
        [("HSET", A, "next", 10, "apart", 0)],
        {("tasks", "a"), ("indexes", "pending:4:1000 @a"), ("indexes", "arrays a"), ("counts", "pending")},
    ),
    "ended too early": ([outcome("e", state="completed", at=7)], {("tasks", "e")}),
    "delayed, index lost": ([("ZREM", K.delayed, "d")], {("tasks", "d")}),
    "delayed, wrong time": ([("ZADD", K.delayed, 7, "d")], {("tasks", "d")}),
    "cancelled, miscounted": ([("HINCRBY", K.array("z"), "unmade", 1)], {("tasks", "z")}),
    "indexed as ended": ([("ZADD", K.finished("array"), 7, "e")], {("tasks", "e"), ("indexes", "finished:array e")}),
}


def filled_in(scene: Scene, part: Any) -> Any:
    """``@a``: the entry of the rest of a."""
    return part.replace("@a", entry(scene)) if isinstance(part, str) and "@a" in part else part


def entry(scene: Scene) -> str:
    queue = scene.store.keys.pending("4:1000")
    members = scene.link.run(plainly(("ZRANGE", queue, 0, -1)))[0]
    return next((m.decode() for m in members if m.endswith(b"a/")), scene.tokens.get("@a", ""))


@damaged
@pytest.mark.parametrize("kind", DAMAGE)
def test_planted_damage_is_found_and_mended(scene: Scene, kind: str) -> None:
    commands, expected = DAMAGE[kind]
    scene.tokens["@a"] = entry(scene)
    scene.plant(*(one if isinstance(one, Altered) else [filled_in(scene, part) for part in one] for one in commands))
    assert set(scene.found()) == {(check, filled_in(scene, subject)) for check, subject in expected}
    assert scene.link.run(repair(scene.store.keys.namespace))
    assert scene.found() == {}
    before = snapshot(scene)
    assert scene.link.run(repair(scene.store.keys.namespace)) == []
    assert snapshot(scene) == before


@damaged
def test_an_array_that_has_ended_stands_among_no_ended_tasks(scene: Scene) -> None:
    reports = [EndReport(scene.tokens[f"e/{i}"], f"e/{i}", "completed", 0.1, result=b"\xc0") for i in (1, 2)]
    scene.link.run(scene.store.task_finish("n1", "i1", acked=4, reports=reports))
    assert scene.found() == {}
    scene.plant(("ZADD", K.finished("completed"), 7, "e"))
    assert set(scene.found()) == {("indexes", "finished:completed e")}
    scene.link.run(repair(scene.store.keys.namespace))
    assert scene.found() == {}


def snapshot(scene: Scene) -> dict[bytes, bytes]:
    keys = scene.link.run(plainly(("KEYS", scene.store.keys.prefix + "*")))[0]
    return dict(zip(keys, scene.link.run(plainly(*(("DUMP", key) for key in keys))), strict=True))
