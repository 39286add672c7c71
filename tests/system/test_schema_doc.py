"""Every command of docs/redis-schema.md works as written, and answers with what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from rq_sched.link import Link
from rq_sched.model.due import parse_times
from rq_sched.model.schedule import Schedule
from rq_sched.model.states import FINAL
from rq_sched.model.task import TaskRequest
from tests.lua.cell import Cell
from tests.support.records import record_of

PAGE = Path(__file__).parents[2] / "docs" / "redis-schema.md"
COMMANDS = [line for block in re.findall(r"```\n(.*?)```", PAGE.read_text(), re.S) for line in block.splitlines()]


def arrays(cell: Cell) -> None:
    """One of which an element runs, one was named, the others wait; and one that ended before any was made."""
    for array_id in ("sweep", "never"):
        request = TaskRequest("m:f", task_id=array_id, cpu_needed=1, memory_needed=1, priority=5, array="1-9").check()
        cell.run(cell.store.submit([request]))
    cell.run(cell.store.cancel("never", requeue=False))
    cell.run(cell.store.prioritize("sweep/1", 6))
    cell.run(cell.store.hold("sweep/7"))


def limits(cell: Cell) -> None:
    """One of which some is in use, and for which somebody waits."""
    cell.run(cell.store.limit_set("api", 2))
    cell.submit("calls", memory=1, priority=9, limits={"api": 1})
    cell.submit("waits", memory=1, priority=9, limits={"api": 2})
    cell.run(cell.store.place())
    cell.run(cell.store.reserve())


@pytest.fixture
def cell(link: Link, namespace: str) -> Cell:
    """Something in every key that the page names."""
    cell = Cell(link, namespace)
    cell.node("n1", 4, 513, incarnation="i1")
    limits(cell)
    cell.submit("t1", "t2", "t3", memory=256, max_cpu_needed=2, preemptible=True)
    cell.submit("later", delay=60, deadline=9_000_000)
    cell.submit("aside")
    cell.run(cell.store.hold("aside"))
    cell.submit("bad", memory=256, priority=9)
    cell.submit(*(f"hears{i}" for i in range(70)), after=["bad"])
    cell.place()
    cell.finish("n1", cell.starts("n1", "i1")["bad"], "failed", incarnation="i1", reason="error", error="boom")
    cell.run(cell.store.reserve())
    tokens = [cell.run(record_of(cell.store.keys, task_id))["token"] for task_id in ("t1", "t2")]
    cell.run(cell.store.task_start("n1", "i1", tokens))
    cell.run(cell.store.place())  # once: who was told of nothing yet isn't
    cell.run(cell.store.task_grow("n1", "i1", tokens, idle=2))
    cell.submit("fresh", cpu=2)
    arrays(cell)
    many = [f"waits{i}" for i in range(10)]
    cell.submit(*many, after=["t1"])
    cell.submit("sum", after=many)
    cell.node("n2", 1, 64, labels=("gpu",))
    cell.run(cell.store.sweep(scheduler="box:17"))
    cell.run(cell.store.schedule_add(Schedule("nightly", parse_times(None, "1d", None), TaskRequest("m:f").check())))
    return cell


@pytest.mark.no_audit  # the clock of this cell is made up; tests/lua audits the same records
@pytest.mark.parametrize("command", COMMANDS)
def test_command(cell: Cell, command: str) -> None:
    words = shlex.split(command.replace("{default}", f"{{{cell.store.keys.namespace}}}"))

    def ask() -> Any:
        return (yield [tuple(words)])

    answer = cell.run(ask())[0]
    assert answer not in (None, [], 0), command


def test_the_page_names_every_count() -> None:
    sources = "".join(path.read_text() for path in (PAGE.parents[1] / "lua").glob("*.lua"))
    counted = set(re.findall(r"\bcount\('(\w+)'", sources)) | {str(state) for state in FINAL} | {"synced"}
    table = re.search(r"field of `counts`.*?\n\n", PAGE.read_text(), re.S)
    assert table is not None
    assert set(re.findall(r"`(\w+)`", table[0])) - {"counts", "aof", "replicated"} == counted


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) > 15
