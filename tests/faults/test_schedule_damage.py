"""Whatever stands in schedules, others are made in time, no scheduler fails, and a repair leaves a clean audit."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rq_sched import audit
from rq_sched.audit.mend import repair
from rq_sched.link import Link, Op
from rq_sched.model.due import parse_times
from rq_sched.model.schedule import Schedule
from rq_sched.model.task import TaskRequest
from rq_sched.store.schedule_records import FIELDS
from tests.faults.vandal.changes import ODD
from tests.lua.cell import Cell

MINUTE = 60_000
STEPS = 40
GUILTY = ("x0", "x1", "x2", "x3")
INNOCENT = ("i0", "i1")
TURNS = 30
"""That one minute's due times may take, with all that is missed where a time is far back."""


def plainly(*commands: tuple[Any, ...]) -> Op[list[Any]]:
    return (yield list(commands))


def every(cell: Cell, name: str, number: int) -> None:
    cron, interval = ("* * * * *", None) if number % 2 else (None, 60)
    overlap = "allow" if name in INNOCENT else ("skip", "queue", "allow")[number % 3]
    times = parse_times(cron, interval, "Europe/Zurich" if cron else None)
    cell.run(cell.store.schedule_add(Schedule(name, times, TaskRequest("m:f").check(), overlap)))


def damage(cell: Cell, rng: random.Random) -> None:
    """One thing of a guilty one becomes another."""
    keys, name, odd = cell.store.keys, rng.choice(GUILTY), rng.choice(ODD)
    key = keys.schedule(name)
    score = rng.choice(["-inf", "+inf", "0", "-5", "1e308", str(cell.now), str(cell.now + MINUTE)])
    kinds: list[list[tuple[Any, ...]]] = [
        [("HSET", key, rng.choice(list(FIELDS)), odd)] * 5,
        [("HDEL", key, rng.choice(list(FIELDS)))] * 2,
        [("ZADD", keys.schedules, score, rng.choice([name.encode(), odd]))] * 2,
        [("ZREM", keys.schedules, name)],
        [("DEL", key)],
    ]
    command = rng.choice([command for kind in kinds for command in kind])
    if command[0] == "HSET" and cell.run(plainly(("TYPE", key)))[0] not in (b"hash", b"none"):
        command = ("DEL", key)
    cell.run(plainly(command))
    if command[0] == "DEL" and rng.random() < 0.5:
        cell.run(plainly(rng.choice([("SET", key, odd), ("ZADD", key, 1, odd), ("HSET", key, odd, odd)])))


@pytest.mark.no_audit("damage is planted")
@pytest.mark.parametrize("seed", range(6))
def test_others_are_made_in_time(seed: int, link: Link, namespace: str) -> None:
    rng, cell = random.Random(f"schedules {seed}"), Cell(link, namespace)
    cell.now = 1_796_040_000_000  # a whole minute
    cell.node("n1", 1, 100, ttl=10**7)
    for number, name in enumerate((*INNOCENT, *GUILTY)):
        every(cell, name, number)
    for step in range(1, STEPS + 1):
        for _ in range(rng.choice([1, 1, 3])):
            damage(cell, rng)
        cell.now += MINUTE
        for turn in range(TURNS + 1):
            assert turn < TURNS, "it never ends"
            if not cell.run(cell.store.make_due()).more:
                break
        for info in cell.run(cell.store.schedules(INNOCENT)):
            assert (info.made, info.skipped, info.trouble) == (step, 0, None), info
        cell.run(cell.store.schedules())
        for name in GUILTY if step % 10 == 0 else ():
            again(cell, name)
    cell.run(plainly(("SET", cell.store.keys.schedules, "no index")))
    assert cell.run(cell.store.make_due()).moved == 0
    cell.run(repair(namespace, lambda: cell.now))
    assert audit.problems(cell.run(audit.check(namespace))) == []
    cell.now += MINUTE
    cell.run(cell.store.make_due())
    assert {info.made for info in cell.run(cell.store.schedules(INNOCENT))} == {STEPS + 1}


def again(cell: Cell, name: str) -> None:
    """What can't be used any more is removed, and made anew."""
    cell.run(plainly(("DEL", cell.store.keys.schedule(name))))
    every(cell, name, int(name[1:]) + len(INNOCENT))
