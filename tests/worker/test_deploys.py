"""New code under a running worker, and how long a process is used."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from rq_sched.errors import InvalidValue, NodeNotFound, WrongState
from rq_sched.model.node import NodeState
from rq_sched.model.resources import Resources
from rq_sched.model.states import State
from tests.support import wait_for
from tests.worker.kit import Desk, Node

HELPER = "def version():\n    return {version!r}\n"
APP = """
import os, time
import helper
VERSION = {version!r}
def say(pause=0.0):
    began = time.time()
    time.sleep(pause)
    return [VERSION, helper.version(), began, os.getpid()]
def wait(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return say()
"""


LENGTHS = itertools.count(1)


def deploy(folder: Path, version: str) -> None:
    """As rsync, or an installer, does it: each file is there, old or new, at any time.

    Their lengths differ: Python takes a compiled module for that of another one of the same second and length."""
    for name, text in (("helper.py", HELPER), ("app.py", APP)):
        temporary = folder / f".{name}"
        temporary.write_text(text.format(version=version) + "#" * next(LENGTHS))
        temporary.replace(folder / name)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    deploy(folder, "old")
    return folder


def test_a_child_does_not_run_what_has_changed(desk: Desk, app: Path) -> None:
    node = desk.node(chdir=str(app))
    ids = [desk.submit("app:say", 0.2) for _ in range(4)]  # four children have the old one
    assert {tuple(desk.end(one).result[:2]) for one in ids} == {("old", "old")}
    deploy(app, "new")
    ids = [desk.submit("app:say", 0.2, crash_limit=1) for _ in range(4)]
    ended = [desk.end(one) for one in ids]
    assert {tuple(one.result[:2]) for one in ended} == {("new", "new")}
    assert {(one.attempt, one.crashes) for one in ended} == {(1, 0)}
    assert len(node.children) <= 4


def how_it_is_told(how: str, desk: Desk, nodes: list[Node]) -> None:
    for node in nodes:
        if how == "signal":
            node.process.send_signal(signal.SIGHUP)
        elif how == "order":
            assert desk.link.run(desk.store.node_reload(node.config.node_id)) is NodeState.UP


@pytest.mark.parametrize("how", ["signal", "order", "not at all"])
def test_a_deploy_under_load(desk: Desk, app: Path, how: str) -> None:
    """Two workers, 500 tasks. Once the workers have heard of it no old code begins; without a word, the changed module
    doesn't, from the moment when it is there."""
    nodes = [desk.node(node_id=name, chdir=str(app)) for name in ("n1", "n2")]
    ids = [desk.submit("app:say", 0.02) for _ in range(250)]
    desk.end(ids[20])
    deploy(app, "new")
    how_it_is_told(how, desk, nodes)
    if how != "not at all":
        wait_for(lambda: all("new code: tasks begin in new processes" in node.log for node in nodes), 10)
    told = os.stat(app / "app.py").st_ctime if how == "not at all" else time.time()
    ids += [desk.submit("app:say", 0.02) for _ in range(250)]
    ended = [desk.end(one, timeout=120) for one in ids]
    assert {one.state for one in ended} == {State.COMPLETED}
    assert {one.crashes for one in ended} == {0}
    results = [one.result for one in ended]
    late = [result for result in results if result[2] > told + 0.05]
    assert len(late) >= 200
    assert {result[0] for result in late} == {"new"}
    if how != "not at all":
        assert {result[1] for result in late} == {"new"}
    assert "old" in {result[0] for result in results}
    for node in nodes:
        assert node.process.poll() is None


def test_idle_ones_go_at_once_and_busy_ones_after_their_task(desk: Desk, app: Path, tmp_path: Path) -> None:
    node = desk.node(chdir=str(app))
    until = tmp_path / "until"
    idle, busy = desk.submit("app:say", 0.3), desk.submit("app:wait", str(until))
    first = desk.end(idle).result[3]
    desk.running(busy)
    (second,) = set(node.children) - {first}
    node.process.send_signal(signal.SIGHUP)
    wait_for(lambda: node.children == [second], 10, lambda: (node.children, node.log))
    until.touch()
    assert desk.end(busy).result[3] == second
    wait_for(lambda: not psutil.pid_exists(second), 10, lambda: node.log)
    assert desk.run("app:say").result[3] not in (first, second)


def test_a_reload_that_comes_twice(desk: Desk, app: Path) -> None:
    """The second one finds nothing to do; what cannot be reloaded is refused."""
    node = desk.node(chdir=str(app))
    first = desk.run("app:say").result[3]
    for _ in range(3):
        desk.link.run(desk.store.node_reload("n1"))
    wait_for(lambda: node.children == [], 10, lambda: node.log)
    assert desk.run("app:say").result[3] != first
    with pytest.raises(NodeNotFound):
        desk.link.run(desk.store.node_reload("n9"))
    assert node.stop() == 0
    with pytest.raises(WrongState, match="n1 is dead"):
        desk.link.run(desk.store.node_reload("n1"))


def test_new_modules_do_not_come_to_old_ones(desk: Desk, app: Path) -> None:
    """A child that has an old helper isn't asked to import what needs the new one."""
    node = desk.node(chdir=str(app), cpu=1)
    child = desk.run("app:say").result[3]
    (app / "helper.py").write_text(HELPER.format(version="new"))
    (app / "later.py").write_text("import helper, os\ndef say():\n    return [helper.version(), os.getpid()]\n")
    said, other = desk.run("later:say").result
    assert said == "new"
    assert other != child
    assert node.children == [other]


# -- how long a process is used ---------------------------------------------------------------------


def test_a_new_process_for_each_task(desk: Desk) -> None:
    node = desk.node(max_tasks_per_child=1)
    wait_for(lambda: len(node.children) == 4, 10, lambda: node.log)  # they are ready before the first task comes
    ids = [desk.submit("number_of_process") for _ in range(30)]
    assert len({desk.end(one).result for one in ids}) == 30
    wait_for(lambda: len(node.children) == 4, 10, lambda: (node.children, node.log))


def test_so_many_tasks_and_no_more(desk: Desk) -> None:
    desk.node(max_tasks_per_child=3, cpu=1)
    found = [desk.run("number_of_process").result for _ in range(7)]
    assert [found.count(pid) for pid in dict.fromkeys(found)] == [3, 3, 1]


def test_a_task_that_fails_and_one_that_is_stopped_count_too(desk: Desk) -> None:
    desk.node(max_tasks_per_child=2, cpu=1)
    first = desk.run("number_of_process").result
    assert desk.run("fail", "once").state is State.FAILED
    assert desk.run("number_of_process").result != first


def test_a_number_that_is_none(desk: Desk) -> None:
    with pytest.raises(InvalidValue, match="--max-tasks-per-child"):
        desk.node(up=False, max_tasks_per_child=-1).config.check()


def test_the_spare_ones_of_a_small_node_are_few(desk: Desk) -> None:
    node = desk.node(max_tasks_per_child=1, cpu=1)
    assert node.config.total == Resources(1, 4096)
    wait_for(lambda: len(node.children) == 1, 10, lambda: node.log)
    assert desk.run("add", 1, 2).result == 3
    wait_for(lambda: len(node.children) == 1, 10, lambda: node.log)
