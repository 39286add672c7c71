"""Damage to what is known of tasks that wait for others: it is found, and mended; nothing begins too early."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rq_sched import audit
from rq_sched.audit.mend import repair
from rq_sched.link import Link
from rq_sched.model.states import State
from tests.faults.scene import plainly
from tests.lua.test_after import Graph

Damage = Callable[[Graph], object]


def command(graph: Graph, *words: str | bytes | int) -> object:
    return graph.run(plainly(words))[0]


def rewrite(graph: Graph, task_id: str, old: bytes, new: bytes) -> None:
    """One part of a request becomes another one."""
    key = graph.store.keys.task(task_id)
    text = command(graph, "GET", key)
    assert isinstance(text, bytes)
    assert old in text
    command(graph, "SET", key, text.replace(old, new))


DAMAGES: dict[str, Damage] = {
    "it waits for more than there are": lambda g: rewrite(g, "b", b"\nleft=2\n", b"\nleft=7\n"),
    "it waits for fewer": lambda g: rewrite(g, "b", b"\nleft=2\n", b"\nleft=1\n"),
    "it doesn't stand among those that wait": lambda g: command(g, "ZREM", g.store.keys.waiting, "b"),
    "who is waited for doesn't know": lambda g: rewrite(g, "x", b"\nbefore=b:", b"\nrefusal="),
    "an entry says nothing": lambda g: rewrite(g, "x", b"\nbefore=b:", b"\nbefore=b?"),
    "a list is gone": lambda g: command(g, "DEL", g.store.keys.before("a")),
    "a list is of another type": lambda g: (
        command(g, "DEL", g.store.keys.before("a")) and command(g, "SET", g.store.keys.before("a"), "x")
    ),
    "what is left to be told is of another type": lambda g: command(g, "SET", g.store.keys.releasing, "x"),
    "a list that nobody has": lambda g: command(g, "RPUSH", g.store.keys.awaits("b"), "x"),
}


@pytest.fixture
def graph(link: Link, namespace: str) -> Graph:
    graph = Graph(link, namespace)
    graph.open = {}
    graph.node("n", 64, 64 * 1024)
    return graph


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_found_and_mended(graph: Graph, damage: str) -> None:
    graph.submit("a", "x")
    graph.submit("b", after=["a", "x"])
    graph.submit(*(f"t{i}" for i in range(9)), after=["a"])  # so many that they stand in a list
    DAMAGES[damage](graph)
    namespace = graph.store.keys.namespace
    assert audit.problems(graph.run(audit.check(namespace)))
    graph.run(repair(namespace, now_ms=lambda: graph.now))
    assert not audit.problems(graph.run(audit.check(namespace)))
    graph.run_to_end("a")
    assert graph.state("b") == State.WAITING
    graph.run_to_end("x")
    assert {graph.state(t) for t in ("b", *(f"t{i}" for i in range(9)))} <= {State.PENDING, State.ASSIGNED}


def test_an_end_that_nobody_was_told_of(graph: Graph) -> None:
    graph.submit("a")
    graph.submit(*(f"t{i}" for i in range(70)), after=["a"])
    graph.run_to_end("a")
    command(graph, "DEL", graph.store.keys.releasing)
    namespace = graph.store.keys.namespace
    (problem,) = audit.problems(graph.run(audit.check(namespace)))
    assert (problem.check, problem.subject) == ("after", "a")
    graph.run(repair(namespace, now_ms=lambda: graph.now))
    graph.tell()
    assert graph.run(graph.store.info()).tasks["waiting"] == 0
