"""Lists: what is shown in which order, once each, complete or said to be cut, also while tasks move."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from rq_sched.link import Link, Op
from rq_sched.store import lists
from rq_sched.store.indexes import Index, merged
from rq_sched.store.lists import Listed
from tests.lua.cell import Cell


def send(*words: Any) -> Op[Any]:
    return (yield [words])[0]


def listed(cell: Cell, **which: Any) -> list[str]:
    return [info.task_id for info in cell.run(cell.store.list_tasks(**which)).tasks]


def end(cell: Cell, task_id: str, outcome: str) -> None:
    """Let a task end now: ``completed``, ``failed`` or ``cancelled``."""
    cell.submit(task_id)
    if outcome == "cancelled":
        cell.run(cell.store.cancel(task_id, requeue=False))
        return
    cell.place()
    cell.finish("n1", cell.starts("n1")[task_id], outcome, reason="error" if outcome == "failed" else None)


def test_the_newest_ends_come_first_whatever_the_state(cell: Cell):
    cell.node("n1")
    outcomes = ["completed", "failed", "cancelled", "completed", "cancelled", "failed", "completed"]
    for number, outcome in enumerate(outcomes):
        cell.now += 1
        end(cell, f"t{number}", outcome)
    newest_first = [f"t{number}" for number in reversed(range(len(outcomes)))]
    assert listed(cell) == newest_first
    assert listed(cell, limit=3) == newest_first[:3]
    assert listed(cell, state="cancelled") == ["t4", "t2"]


def test_it_is_said_when_there_is_more(cell: Cell, monkeypatch: pytest.MonkeyPatch):
    cell.submit(*(f"p{n}" for n in range(30)))
    assert cell.run(cell.store.list_tasks(limit=30)).more is False
    assert cell.run(cell.store.list_tasks(limit=29)).more is True
    assert len(listed(cell, limit=29)) == 29
    assert cell.run(cell.store.list_tasks(priority=7)) == Listed([])
    monkeypatch.setattr(lists, "SCAN_LIMIT", 30)
    assert cell.run(cell.store.list_tasks(priority=7)).gave_up is False
    monkeypatch.setattr(lists, "SCAN_LIMIT", 29)
    assert cell.run(cell.store.list_tasks(priority=7)).gave_up is True
    assert len(listed(cell, limit=1000)) == 30  # nothing is looked through in vain


def test_a_task_that_ends_while_the_list_is_made_is_there_once(cell: Cell):
    cell.node("n1", cpu=8)
    cell.submit(*(f"t{n}" for n in range(8)))
    cell.place()
    starts = cell.starts("n1")
    names = set(starts)

    def between(done: int) -> None:
        if starts:
            cell.finish("n1", starts.popitem()[1])

    found = drive(cell.link, cell.store.list_tasks(), between)
    assert sorted(info.task_id for info in found.tasks) == sorted(names)


def drive(link: Link, op: Op[Any], between: Callable[[int], None]) -> Any:
    """Carry an operation out; before each of its round trips something else happens."""
    replies: list[Any] | None = None
    for done in range(1_000_000):
        try:
            requests = next(op) if replies is None else op.send(replies)
        except StopIteration as stop:
            return stop.value
        between(done)
        replies = [link.run(one(request)) for request in requests]
    raise AssertionError("it never ends")


def one(request: Any) -> Op[Any]:
    return (yield [request])[0]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_an_index_that_changes_is_read_once_and_completely(link: Link, namespace: str, seed: int, reverse: bool):
    """Between any two round trips members go, come, and change their scores; who stays is met, once, in order."""
    rng = random.Random(seed)
    keys = [f"index:{namespace}:{n}" for n in range(3)]
    scores: dict[tuple[str, str], float] = {}
    for key in keys:
        for n in range(rng.choice([0, 40, 400])):
            scores[key, f"m{n:03d}"] = float(rng.choice([0, 0, 0, rng.randrange(50)]))
    for (key, member), score in scores.items():
        link.run(send("ZADD", key, score, member))
    untouched = set(scores)

    def between(_: int) -> None:
        for _ in range(rng.choice([0, 5, 60])):
            key, member = rng.choice(sorted(scores))
            untouched.discard((key, member))
            if rng.random() < 0.7:
                link.run(send("ZREM", key, member))
            else:
                link.run(send("ZADD", key, rng.randrange(50), member))
        link.run(send("ZADD", rng.choice(keys), rng.randrange(50), f"n{rng.randrange(10**6)}"))

    if not scores:
        return
    indexes = [Index(key, key, reverse) for key in keys]
    read: list[tuple[str, str]] = []
    places: list[float] = []
    while entries := drive(link, merged(indexes, 25), between):
        read += [(entry.name, entry.member.decode()) for entry in entries]
        places += [-entry.score if reverse else entry.score for entry in entries]
    link.run(send("DEL", *keys))
    again = {place for place in read if read.count(place) > 1}
    assert untouched <= set(read)
    assert not again & untouched
    assert places == sorted(places)
