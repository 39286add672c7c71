"""The processes of a task: reaped while it runs, counted wherever they are, gone before its capacity is free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from rq_sched.model.states import Reason, State
from rq_sched.worker import system
from tests.support import wait_for
from tests.worker.escapes import WAYS
from tests.worker.kit import Desk, Node

pytestmark = pytest.mark.skipif(not system.LINUX, reason="only Linux has subreapers")
ESCAPES = "tests.worker.escapes"


def of_name(name: str) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["name", "status"]) if one.info["name"] == name]


def zombies(node: Node) -> int:
    return sum(one.status() == psutil.STATUS_ZOMBIE for one in node.everything())


@pytest.mark.parametrize("way", WAYS)
def test_nothing_gets_away(desk: Desk, node: Node, way: str) -> None:
    """Gone before the end is known; the tasks after it have the node to themselves."""
    name = f"rqs-{os.getpid() % 1000}-{list(WAYS).index(way)}"
    info = desk.run(f"{ESCAPES}:escape", way, name, crash_limit=1)
    assert of_name(name) == []
    assert info.result == "left" or info.reason == Reason.POISON
    assert (info.state is State.FAILED) == (way == "subreaper_killed")
    after = [desk.run("number_of_process") for _ in range(3)]
    assert {one.state for one in after} == {State.COMPLETED}
    wait_for(lambda: len(node.everything()) == 4, 10, node.everything)  # parent, agent, a child with its subreaper
    node_now = node.info
    assert node_now is not None
    assert node_now.free_cpu == node_now.total_cpu


def test_zombies_are_reaped_while_a_task_runs(desk: Desk, node: Node, tmp_path: Path) -> None:
    path, until = tmp_path / "made", tmp_path / "until"
    task_id = desk.submit(f"{ESCAPES}:make_orphans", 500, str(path), str(until))
    wait_for(path.exists, 30, lambda: (desk.info(task_id), node.log))
    wait_for(lambda: len(node.everything()) == 4, 10, node.everything)  # all have run, none is a zombie
    child = node.children
    until.touch()
    assert desk.end(task_id).result == 500
    assert desk.run("number_of_process").result == child[0]  # nothing was left over: it stays


def test_a_command_s_zombies_are_reaped_too(desk: Desk, node: Node, tmp_path: Path) -> None:
    path, until = tmp_path / "made", tmp_path / "until"
    script = f"for i in $(seq 300); do (true &); done; touch {path}; while [ ! -e {until} ]; do sleep 0.05; done"
    task_id = desk.submit("exec:/bin/sh", "-c", script)
    wait_for(path.exists, 30, lambda: (desk.info(task_id), node.log))
    wait_for(lambda: zombies(node) == 0, 10, node.everything)
    until.touch()
    assert desk.end(task_id).exit_code == 0


def test_nobody_takes_a_task_s_own_children_away(desk: Desk, node: Node) -> None:
    """3,000 in a row: it hears how each of them ended."""
    info = desk.end(desk.submit(f"{ESCAPES}:start_short_ones", 3000), timeout=120)
    assert info.result == 3000, info.error


@pytest.mark.parametrize(
    ("function", "args"), [("hog_behind_zombies", (1500, 400)), ("hog_as_orphan", (400,))], ids=["behind", "orphan"]
)
def test_memory_is_seen_wherever_it_is(desk: Desk, node: Node, function: str, args: tuple[int, ...]) -> None:
    """Behind more children than one read of /proc tells, and in a process that lost its parent."""
    info = desk.end(desk.submit(f"{ESCAPES}:{function}", *args, memory_needed=64), timeout=60)  # 1,500 processes
    assert (info.state, info.reason) == (State.FAILED, Reason.OOM)
    assert desk.run("add", 1, 2).result == 3


MANY = """
import os
for _ in range(1500):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    print(pid, end=" ")
print(flush=True)
input()
"""


def test_more_children_than_one_read_of_proc_tells() -> None:
    """Of a small process: to fork this one takes long."""
    parent = subprocess.Popen([sys.executable, "-c", MANY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        pids = {int(pid) for pid in parent.stdout.readline().split()}
        assert len(pids) == 1500
        assert pids <= set(system.children_of(parent.pid))
        assert pids <= set(system.below(parent.pid))
    finally:
        parent.communicate(b"\n", timeout=30)


def test_a_subreaper_ends_with_its_child_however_that_ends(desk: Desk, node: Node) -> None:
    for signum in (signal.SIGKILL, signal.SIGSEGV):
        child = desk.run("number_of_process").result
        above = psutil.Process(child).ppid()
        os.kill(child, signum)
        wait_for(lambda pid=child, up=above: not psutil.pid_exists(pid) and not psutil.pid_exists(up), 10)  # type: ignore[misc]
    assert desk.run("add", 1, 2).result == 3
