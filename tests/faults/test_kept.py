"""What is reserved, preemptible and surplus: planted damage is found exactly, and mended."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched import audit
from rq_sched.audit.mend import repair
from rq_sched.link import Link
from tests.faults.scene import damaged, plainly
from tests.lua.cell import Cell
from tests.support.records import record_of


@pytest.fixture
def cell(link: Link, namespace: str) -> Cell:
    """Node a is kept for `wide`, which a small one passes that uses what is spare; on b runs what may be stopped."""
    cell = Cell(link, namespace)
    run, store = cell.run, cell.store
    cell.node("a", 4, 4000, ttl=10**6)
    cell.submit("s1", "s2", cpu=2, memory=100, priority=9)
    cell.place()
    cell.submit("wide", cpu=3, memory=100)
    run(store.reserve())
    cell.now += 60_000
    run(store.set_setting("preempt_after", "off"))
    assert run(store.reserve()).node_id == "a"
    cell.finish("a", cell.starts("a")["s1"])
    cell.submit("spare", cpu=1, memory=10)
    cell.place()
    cell.node("b", 2, 1000, ttl=10**6)
    cell.submit("may", cpu=2, memory=10, priority=5, preemptible=True)
    cell.place()
    cell.token = run(record_of(store.keys, "may"))["token"]  # type: ignore[attr-defined]
    cell.used = run(record_of(store.keys, "spare"))["token"]  # type: ignore[attr-defined]
    return cell


def found(cell: Cell) -> dict[tuple[str, str | None], str]:
    problems = audit.problems(cell.run(audit.check(cell.store.keys.namespace)))
    return {(problem.check, problem.subject): problem.message for problem in problems}


def test_the_scene_is_in_order(cell: Cell) -> None:
    assert found(cell) == {}
    assert cell.info("spare").node_id == "a"
    assert cell.info("may").node_id == "b"
    assert cell.run(repair(cell.store.keys.namespace, lambda: cell.now)) == []


R = "reservation"
DAMAGE: dict[str, tuple[list[tuple[Any, ...]], set[str]]] = {
    "spare miscounted": ([("HINCRBY", R, "spare_cpu", 1)], {"reservation"}),
    "spare memory miscounted": ([("HINCRBY", R, "spare_memory", -1)], {"reservation"}),
    "lent to an attempt that is gone": (
        [("HSET", R, "+t.9", "1:10"), ("HINCRBY", R, "spare_cpu", -1), ("HINCRBY", R, "spare_memory", -10)],
        {"reservation"},
    ),
    "lent and not noted": ([("HDEL", R, "+USED")], {"reservation"}),
    "field lost": ([("HDEL", R, "class")], {"reservation"}),
    "for a task that isn't pending": (
        [("HSET", R, "task", "s2"), ("HSET", "node:a", "reserved", "s2")],
        {"reservation"},
    ),
    "the node doesn't know": ([("HDEL", "node:a", "reserved")], {"reservation", "nodes"}),
    "for another incarnation": ([("HSET", R, "incarnation", "i9")], {"reservation"}),
    "the reservation is lost": ([("DEL", R)], {"a"}),
    "surplus miscounted": ([("HSET", "node:b", "surplus", 1)], {"b", "nodes"}),
    "surplus of an attempt that is gone": ([("HSET", "node:b:1:grown", "t.9", 1)], {"b"}),
    "preemptible and not in the index": ([("ZREM", "preemptible", "MAY b")], {"preemptible MAY b"}),
    "preemptible with another priority": ([("ZADD", "preemptible", 1, "MAY b")], {"preemptible MAY b"}),
    "preemptible and gone": ([("ZADD", "preemptible", 1, "t.9 b")], {"preemptible t.9 b"}),
}


@damaged
@pytest.mark.parametrize("kind", DAMAGE)
def test_planted_damage_is_found_and_mended(cell: Cell, kind: str) -> None:
    commands, subjects = DAMAGE[kind]
    prefix, words = cell.store.keys.prefix, {"MAY": cell.token, "USED": cell.used}  # type: ignore[attr-defined]

    def fill(text: Any) -> Any:
        for name, value in words.items():
            text = text.replace(name, value) if isinstance(text, str) else text
        return text

    cell.run(plainly(*([c[0], prefix + c[1], *map(fill, c[2:])] for c in commands)))
    seen = {subject if check == "kept" else check for check, subject in found(cell)}
    assert seen == {fill(subject) for subject in subjects}, found(cell)
    done = cell.run(repair(cell.store.keys.namespace, lambda: cell.now))
    assert done
    assert found(cell) == {}, done
    assert cell.run(repair(cell.store.keys.namespace, lambda: cell.now)) == []
