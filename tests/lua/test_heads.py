"""Which task comes next, of many classes, in calls that take several of each: a model says it, task by task."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from rq_sched.model.orders import Start
from tests.lua.cell import Cell

CPU, MEMORY = 8, 800
KINDS = [(cpu, memory) for cpu in (1, 2, 3, 5) for memory in (60, 100, 110, 250)]
"""Needs of which several share a group: 100 and 110; and which fit only in part where little is free."""


class Model:
    """All that waits, in its order, and what each node has left."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, str]] = []
        self.needs: dict[str, tuple[int, int]] = {}
        self.room: dict[str, list[int]] = {}

    def submit(self, task_id: str, need: tuple[int, int], priority: int) -> None:
        self.waiting.append((-priority, len(self.needs), task_id))
        self.waiting.sort()
        self.needs[task_id] = need

    def fill(self, node: str) -> Iterator[str]:
        """The tasks that a node gets: the earliest that fits, as long as one does."""
        room = self.room[node]
        for entry in list(self.waiting):
            cpu, memory = self.needs[entry[2]]
            if cpu <= room[0] and memory <= room[1]:
                room[0], room[1] = room[0] - cpu, room[1] - memory
                self.waiting.remove(entry)
                yield entry[2]

    def end(self, node: str, task_id: str) -> None:
        cpu, memory = self.needs[task_id]
        self.room[node][0] += cpu
        self.room[node][1] += memory


@pytest.mark.parametrize("seed", range(6))
def test_each_node_gets_the_earliest_that_fit(cell: Cell, seed: int) -> None:
    rng, model = random.Random(seed), Model()
    kinds = rng.sample(KINDS, (1, 1, 2, 3, 5, 16)[seed])
    number = (4, 14, 20, 40, 90, 120)[seed]
    for i in range(number):
        (cpu, memory), priority = rng.choice(kinds), rng.randrange(2)
        array = "1-3" if i % 10 == 9 else None
        cell.submit(f"t{i}", cpu=cpu, memory=memory, priority=priority, array=array)
        for task_id in [f"t{i}/{k}" for k in (1, 2, 3)] if array else [f"t{i}"]:
            model.submit(task_id, (cpu, memory), priority)
    running: dict[str, dict[str, Start]] = {}
    for node in ("a", "b", "c"):
        cell.node(node, CPU, MEMORY)
        model.room[node] = [CPU, MEMORY]
    cell.place()
    for node in ("a", "b", "c"):
        running[node] = cell.starts(node)
        assert list(running[node]) == list(model.fill(node))
    while any(running.values()):
        node = rng.choice([node for node, tasks in running.items() if tasks])
        ended = running[node].pop(rng.choice(list(running[node])))
        model.end(node, ended.task_id)
        _, started = cell.finish(node, ended)
        assert list(started) == list(model.fill(node))
        running[node] |= started
    assert not model.waiting


@pytest.mark.parametrize("number", [2, 3, 5, 9])
def test_one_queue_ends_on_a_node(cell: Cell, number: int) -> None:
    """What is passed on to the next node of the same call is that nothing is left."""
    cell.submit(*(f"t{i}" for i in range(number)))
    for node in ("a", "b", "c"):
        cell.node(node, cpu=4)
    assert cell.place() == number
    assert [len(cell.starts(node)) for node in ("a", "b", "c")] == [
        min(4, max(0, number - before)) for before in (0, 4, 8)
    ]
