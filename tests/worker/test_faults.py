"""The node's fault and the task's: no task is charged for its node, and a node with a fault is no black hole."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from rq_sched.model.node import NodeState
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.process.health import Mood
from tests.support import wait_for
from tests.worker.kit import Desk, Node

TASKS = 400


def many(desk: Desk, number: int = TASKS, seconds: float = 0.02) -> list[str]:
    requests = [TaskRequest("time:sleep", [seconds], task_id=f"t{i}", memory_needed=1).check() for i in range(number)]
    for start in range(0, number, 100):
        desk.link.run(desk.store.submit(requests[start : start + 100]))
    return [str(request.task_id) for request in requests]


def judge(desk: Desk, ids: list[str], timeout: float = 90) -> Counter[str | None]:
    """All complete, and none is charged; on which nodes."""

    def over() -> bool:
        desk.turn()
        return all(state and state.final for state in desk.link.run(desk.store.states(ids)))

    wait_for(over, timeout, lambda: [node.log[-3000:] for node in desk.nodes])
    infos = [info for info in desk.link.run(desk.store.status(ids)) if info is not None]
    wrong = [i for i in infos if i.state is not State.COMPLETED or i.crashes or i.retries_left != i.retries]
    assert not wrong, wrong[:3]
    assert len(infos) == len(ids)
    return Counter(info.node_id for info in infos)


def wait_faulty(node: Node, text: str) -> None:
    wait_for(
        lambda: node.state is NodeState.FAULTY and node.info and text in (node.info.fault or ""),
        20,
        lambda: (node.info, node.log),
    )


def events(desk: Desk, node_id: str) -> list[str]:
    found = desk.link.run(desk.store.events())
    return [event.type for event in found if event.node_id == node_id and event.type in ("faulty", "recovered")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "release"
    made.mkdir()
    return made


def test_a_node_that_loses_its_folder_eats_nothing_and_comes_back(desk: Desk, folder: Path) -> None:
    good = desk.node(cpu=2)
    bad = desk.node(cpu=2, node_id="n2", chdir=str(folder))
    ids = many(desk)
    wait_for(lambda: bad.info and bad.info.running, 10, lambda: bad.log)
    shutil.rmtree(folder)
    wait_faulty(bad, "release, and that is not possible: No such file or directory")
    explained = desk.link.run(desk.store.explain(ids[-1]))
    assert explained.state != State.PENDING or "n2" in explained.faults
    on = judge(desk, ids)
    assert on["n1"] > on["n2"]
    assert bad.log.count("this node begins no more tasks") == 1
    folder.mkdir()
    bad.wait_up()
    assert events(desk, "n2") == ["faulty", "recovered"]
    assert bad.info is not None
    assert bad.info.fault is None
    good.stop()
    assert desk.run("add", 1, 2).node_id == "n2"


def test_alone_it_gives_back_what_waits_and_runs_it_when_the_folder_is_back(desk: Desk, folder: Path) -> None:
    node = desk.node(cpu=2, chdir=str(folder))
    folder.rename(folder.with_name("away"))
    ids = many(desk, 20)
    wait_faulty(node, "No such file")
    assert node.info is not None
    wait_for(lambda: node.info and node.info.running == 0, 10, lambda: node.log)
    info = desk.info(ids[0])
    assert (info.state, info.crashes) == (State.PENDING, 0)
    folder.with_name("away").rename(folder)
    assert judge(desk, ids)["n1"] == 20


def test_what_runs_goes_on(desk: Desk, folder: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    desk.node(cpu=2, chdir=str(folder))
    desk.running(desk.submit("wait_for_file", str(go), task_id="t"))
    shutil.rmtree(folder)
    desk.submit("add", 1, 2, task_id="late")
    wait_faulty(desk.nodes[0], "No such file")
    assert desk.info("t").state is State.RUNNING
    go.touch()
    assert desk.end("t").state is State.COMPLETED
    assert desk.info("late").state is State.PENDING
    folder.mkdir()
    assert desk.end("late").result == 3


def test_a_folder_that_was_replaced_is_no_fault(desk: Desk, folder: Path) -> None:
    node = desk.node(cpu=1, chdir=str(folder))
    assert desk.run("add", 1, 1).result == 2
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "new.txt").write_text("new")
    assert desk.run("exec:/bin/cat", "new.txt").state is State.COMPLETED
    assert node.info is not None
    assert node.info.fault is None


def test_a_task_that_failed_as_the_folder_went_is_not_charged(desk: Desk, folder: Path, tmp_path: Path) -> None:
    """It was there when it began."""
    go = tmp_path / "go"
    desk.node(cpu=1, chdir=str(folder))
    (folder / "data").write_text("x")
    desk.running(desk.submit("exec:/bin/sh", "-c", f"while [ ! -e {go} ]; do sleep 0.01; done; cat data", task_id="t"))
    shutil.rmtree(folder)
    go.touch()
    wait_faulty(desk.nodes[0], "No such file")
    desk.until("t", lambda info: info.state is State.PENDING)
    folder.mkdir()
    (folder / "data").write_text("x")
    info = desk.end("t")
    assert (info.state, info.attempt, info.retries) == (State.COMPLETED, 2, 0)


def test_a_task_that_breaks_nodes_fails_in_the_end(desk: Desk, folder: Path) -> None:
    """It removes the folder itself: at no cost so often, and then it is charged."""
    node = desk.node(cpu=1, chdir=str(folder))
    desk.submit("exec:/bin/sh", "-c", f"rmdir {folder}; exit 1", task_id="t")

    def ended() -> bool:
        desk.turn()
        if node.state is NodeState.FAULTY:
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
        return desk.info("t").state.final

    wait_for(ended, 30, lambda: (desk.info("t"), desk.nodes[0].log))
    info = desk.info("t")
    assert (info.state, info.reason, info.attempt) == (State.FAILED, "exit_code", 4)


def test_health_and_the_log_say_what_the_fault_is(desk: Desk, folder: Path, tmp_path: Path) -> None:
    health = tmp_path / "health"
    node = desk.node(cpu=1, chdir=str(folder), health_file=str(health))
    shutil.rmtree(folder)
    desk.submit("add", 1, 2)
    wait_faulty(node, "No such file")
    note = wait_for(lambda: (n := json.loads(health.read_text()))["mood"] == Mood.FAULTY and n, 10, lambda: node.log)
    assert "No such file" in note["message"]
    folder.mkdir()
    wait_for(lambda: json.loads(health.read_text())["mood"] == Mood.OK, 20, lambda: node.log)


def test_a_fault_outlives_a_new_registration(desk: Desk, folder: Path) -> None:
    """The incarnation is given up by others; the machine is as it was."""
    node = desk.node(cpu=1, chdir=str(folder), ttl=2.0)
    first = node.wait_up()
    shutil.rmtree(folder)
    desk.submit("add", 1, 2, task_id="t")
    wait_faulty(node, "No such file")
    desk.link.run(desk.store.node_leave("n1", first))

    def anew() -> bool:
        desk.turn()
        return node.info is not None and node.info.incarnation != first

    wait_for(anew, 20, lambda: node.log)
    wait_faulty(node, "No such file")
    assert desk.info("t").crashes == 0
    folder.mkdir()
    assert desk.end("t").result == 3


NO_PROCESSES = """
import errno, os
from rq_sched.worker.parent import nursery
fork = os.fork
def full():
    if os.path.exists({flag!r}):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return fork()
os.fork = full
"""
FULL_DISK = """
import errno, os
write = os.write
def full(descriptor, data):
    if os.path.exists({flag!r}) and os.readlink(f"/proc/self/fd/{{descriptor}}").startswith({folder!r}):
        raise OSError(errno.ENOSPC, "No space left on device")
    return write(descriptor, data)
os.write = full
"""


def test_no_more_processes(desk: Desk, tmp_path: Path) -> None:
    """Children can't be forked: refused at the seam, as the test's user may start as many as it likes."""
    flag = tmp_path / "flag"
    desk.node(cpu=2)
    bad = desk.node(cpu=2, node_id="n2", prelude=NO_PROCESSES.format(flag=str(flag)))
    flag.touch()
    on = judge(desk, many(desk))
    assert set(on) == {"n1"}
    assert bad.info is not None
    assert (bad.state, bad.info.fault) == (
        NodeState.FAULTY,
        "no process can be started: Resource temporarily unavailable",
    )
    flag.unlink()
    bad.wait_up()
    desk.nodes[0].stop()
    assert desk.run("add", 1, 2).node_id == "n2"


def test_no_process_for_a_command_of_a_warm_child(desk: Desk, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    patched = NO_PROCESSES.replace(
        "os.fork = full", "import _posixsubprocess, subprocess\nexec_ = subprocess._fork_exec\n"
    )
    patched += "def refused(*args):\n    full_now = os.path.exists({flag!r})\n"
    patched += "    if full_now: raise BlockingIOError(errno.EAGAIN, 'Resource temporarily unavailable')\n"
    patched += "    return exec_(*args)\nsubprocess._fork_exec = refused\nos.fork = full\n"
    node = desk.node(cpu=1, prelude=patched.format(flag=str(flag)))
    assert desk.run("exec:/bin/true").state is State.COMPLETED
    flag.touch()
    desk.submit("exec:/bin/true", task_id="t")
    wait_faulty(node, "no process can be started")
    desk.until("t", lambda info: info.state is State.PENDING)
    flag.unlink()
    info = desk.end("t")
    assert (info.state, info.crashes) == (State.COMPLETED, 0)


def test_a_full_disk(desk: Desk, folder: Path, tmp_path: Path) -> None:
    """Tasks fail there that write; as the disk is full, they go elsewhere."""
    flag = tmp_path / "flag"
    prelude = FULL_DISK.format(flag=str(flag), folder=str(folder))
    full, other = desk.node(cpu=2, node_id="n2", chdir=str(folder), prelude=prelude), None
    flag.touch()
    for i in range(40):
        desk.submit("write_file", "out", i, task_id=f"t{i}", memory_needed=1)
    wait_faulty(full, f"nothing can be written in {folder}: No space left on device")
    other = desk.node(cpu=2, chdir=str(tmp_path))
    assert set(judge(desk, [f"t{i}" for i in range(40)])) == {"n1"}
    flag.unlink()
    full.wait_up()
    other.stop()
    assert desk.run("add", 1, 2).node_id == "n2"


def test_a_task_that_fails_where_all_is_well_is_charged(desk: Desk, node: Node) -> None:
    info = desk.run("exec:/bin/sh", "-c", "echo 'No space left on device' >&2; exit 28")
    assert (info.state, info.reason, info.attempt) == (State.FAILED, "exit_code", 1)
    assert node.info is not None
    assert node.info.fault is None


def test_a_stopped_parent_is_a_fault_until_it_goes_on(desk: Desk, tmp_path: Path):
    """Ctrl-Z stops the worker's first process only: its agent goes on, and would be given tasks that never begin."""
    health = tmp_path / "health"
    node = desk.node(cpu=2, health_file=str(health))
    running = desk.submit("time:sleep", 3)
    desk.running(running)
    node.process.send_signal(signal.SIGSTOP)
    try:
        wait_faulty(node, f"`kill -CONT {node.process.pid}`")
        ids = [desk.submit("time:sleep", 0) for _ in range(3)]
        wait_for(lambda: json.loads(health.read_text())["mood"] == Mood.FAULTY, 20)
        assert desk.info(ids[0]).state is State.PENDING
        assert desk.end(running).state is State.COMPLETED
    finally:
        node.process.send_signal(signal.SIGCONT)
    assert judge(desk, ids).total() == 3
    assert events(desk, node.config.node_id) == ["faulty", "recovered"]


def test_a_command_that_always_claims_that_there_is_no_room(desk: Desk, tmp_path: Path) -> None:
    """The machine has room: it is given back so often, and then it is the task's own error."""
    refused = "import errno, subprocess\ndef refused(*_): raise BlockingIOError(errno.EAGAIN, 'no room')\n"
    desk.node(cpu=1, prelude=refused + "subprocess._fork_exec = refused\n")
    info = desk.end(desk.submit("exec:/bin/true", task_id="t"), 40)
    assert (info.state, info.reason, info.attempt, info.crashes) == (State.FAILED, "error", 4, 0)
    assert info.error == "no process can be started: no room"
