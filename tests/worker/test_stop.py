"""Stopping tasks and workers: a stopped task's processes are gone before anybody hears that it has stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from rq_sched.model.node import NodeState
from rq_sched.model.resources import Resources
from rq_sched.model.states import Reason, State
from rq_sched.model.task import TaskInfo, TaskRequest
from tests.support import wait_for
from tests.worker.kit import Desk, Node, lines_of


def begun(desk: Desk, task_id: str, notes: Path) -> TaskInfo:
    """The task when it runs and has said so itself."""
    info = desk.running(task_id)
    wait_for(lambda: lines_of(notes), 10, lambda: [node.log for node in desk.nodes])
    return info


def cancel(desk: Desk, task_id: str, *, requeue: bool = False, grace: float = 10.0) -> None:
    assert desk.link.run(desk.store.cancel(task_id, requeue=requeue, grace=grace)).outcome == "stopping"


@pytest.mark.parametrize(
    ("function", "notes"),
    [
        ("sleep", ["begun", "cancelled"]),
        ("sleep_later", ["begun", "cancelled"]),
        ("sleep_cooperatively", ["begun", "looked"]),
    ],
)
def test_a_task_hears_that_it_is_cancelled(
    desk: Desk, node: Node, tmp_path: Path, function: str, notes: list[str]
) -> None:
    path = tmp_path / "notes"
    begun(desk, desk.submit(function, str(path), task_id="t"), path)
    cancel(desk, "t")
    assert desk.end("t", timeout=5).state is State.CANCELLED
    assert lines_of(path) == notes
    assert node.info is not None
    assert node.info.free == Resources(4, 4096)
    assert desk.run("add", 1, 2).result == 3


def test_a_command_is_told_too(desk: Desk, node: Node, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    script = f"trap 'echo told >> {path}; exit 0' TERM; echo begun >> {path}; while :; do sleep 0.01; done"
    begun(desk, desk.submit("exec:sh", "-c", script, task_id="t"), path)
    cancel(desk, "t")
    assert desk.end("t", timeout=5).state is State.CANCELLED
    assert lines_of(path) == ["begun", "told"]


def test_a_deaf_task_is_killed_with_all_it_has_started(desk: Desk, node: Node, tmp_path: Path) -> None:
    """Its capacity is not free before that."""
    path = tmp_path / "notes"
    begun(desk, desk.submit("sleep_deaf", str(path), task_id="t"), path)
    process = psutil.Process(int(lines_of(path)[0].split()[1]))
    processes = wait_for(lambda: len(below := process.children(recursive=True)) >= 4 and [process, *below])
    assert processes
    cancel(desk, "t", grace=0.5)
    while not (info := desk.info("t")).state.final:
        assert info.cpu_allocated == 1
    assert info.state is State.CANCELLED
    assert not [p for p in processes if p.is_running()]


def test_a_cancelled_task_is_requeued(desk: Desk, node: Node, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    begun(desk, desk.submit("sleep", str(path), task_id="t"), path)
    cancel(desk, "t", requeue=True)
    again = desk.until("t", lambda info: info.attempt == 2 and info.state is State.RUNNING)
    assert (again.retries_left, again.crashes) == (0, 0)
    cancel(desk, "t", grace=0)
    assert desk.end("t").state is State.CANCELLED


def test_a_time_limit(desk: Desk, node: Node, tmp_path: Path) -> None:
    desk.run("add", 1, 2)  # the import of the functions is over
    info = desk.run("sleep", str(tmp_path / "notes"), time_limit=0.2)
    assert (info.state, info.reason, info.error) == (
        State.FAILED,
        Reason.TIMEOUT,
        "ran longer than its time limit of 0.2 s",
    )
    assert lines_of(tmp_path / "notes") == ["begun", "cancelled"]


def test_a_time_limit_of_a_deaf_task(desk: Desk, tmp_path: Path) -> None:
    desk.node(grace=0.2)
    info = desk.run("sleep_deaf", str(tmp_path / "notes"), time_limit=0.2)
    assert (info.state, info.reason) == (State.FAILED, Reason.TIMEOUT)


def test_a_quick_task_is_not_hit_by_its_time_limit_later(desk: Desk, node: Node, tmp_path: Path) -> None:
    desk.run("add", 1, 2)
    child = desk.run("number_of_process", time_limit=0.4).result
    assert desk.run("sleep", str(tmp_path / "notes"), 0.7).result == "slept"
    assert desk.run("number_of_process").result == child


def test_a_process_that_dies_is_a_crash(desk: Desk, node: Node) -> None:
    info = desk.run("vanish", 3, task_id="t", crash_limit=2)
    assert (info.state, info.reason, info.crashes, info.attempt) == (State.FAILED, Reason.POISON, 2, 2)
    assert info.error == "its process ended by itself with exit code 3"
    assert desk.output("t") == "almost gone\n[attempt 2]\nalmost gone\n"
    assert desk.run("segfault", crash_limit=1).error == "its process was killed by SIGSEGV"
    assert desk.run("close_descriptors", crash_limit=1).reason == Reason.POISON
    assert desk.run("add", 1, 2).result == 3


@pytest.mark.parametrize("how", ["returns", "vanish"])
def test_what_a_task_has_started_ends_with_it(desk: Desk, node: Node, tmp_path: Path, how: str) -> None:
    """In its group, outside of it, or as a daemon: gone before its end is known."""
    path = tmp_path / "notes"
    if how == "returns":
        assert desk.run("start_processes", str(path)).result == 3
    else:
        assert desk.run("start_processes_and", str(path), how, crash_limit=1).reason == Reason.POISON
    pids = [int(pid) for pid in lines_of(path)[0].split()]
    assert len(pids) == 3
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_what_one_task_changes_is_put_right_for_the_next(desk: Desk, node: Node, tmp_path: Path) -> None:
    child = desk.run("number_of_process").result
    desk.run("change_everything")
    assert desk.run("number_of_process").result == child
    path = tmp_path / "notes"
    begun(desk, desk.submit("sleep", str(path), task_id="t"), path)
    cancel(desk, "t")
    desk.end("t", timeout=5)
    assert lines_of(path) == ["begun", "cancelled"]


def test_a_stop_for_something_unknown_is_confirmed(desk: Desk, node: Node, tmp_path: Path) -> None:
    """Stopped before its child was there, over and over."""
    for n in range(20):
        task_id = desk.submit("sleep", str(tmp_path / "notes"), task_id=f"t{n}")
        desk.link.run(desk.store.cancel(task_id, requeue=False, grace=0))
    for n in range(20):
        assert desk.end(f"t{n}").state is State.CANCELLED


# -- the end of a worker --------------------------------------------------------------------------


def test_a_worker_that_is_stopped_lets_its_tasks_end(desk: Desk, node: Node, tmp_path: Path) -> None:
    go = tmp_path / "go"
    desk.running(desk.submit("wait_for_file", str(go), task_id="runs", cpu_needed=4))
    node.process.send_signal(signal.SIGTERM)
    wait_for(lambda: node.state is NodeState.DRAINING, 10, lambda: node.log)
    desk.submit("add", 1, 2, task_id="waits")
    go.touch()
    assert node.wait_ended() == 0
    assert (desk.info("runs").state, desk.info("runs").result) == (State.COMPLETED, "there")
    assert desk.info("waits").state is State.PENDING
    assert node.state is NodeState.DEAD
    assert not node.record.exists()
    desk.node()
    assert desk.end("waits").result == 3  # the drain was the old worker's own


def test_a_worker_that_is_stopped_gives_back_what_does_not_end(desk: Desk, tmp_path: Path) -> None:
    node = desk.node(grace=0.2)
    path = tmp_path / "notes"
    begun(desk, desk.submit("sleep", str(path), task_id="t", retries=1), path)
    assert node.stop() == 0
    info = desk.info("t")
    assert (info.state, info.crashes, info.retries_left) == (State.PENDING, 0, 1)
    assert lines_of(path) == ["begun", "cancelled"]


def test_a_second_signal_stops_at_once(desk: Desk, node: Node, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    begun(desk, desk.submit("sleep_deaf", str(path), task_id="t"), path)
    everything = node.everything()
    node.process.send_signal(signal.SIGINT)
    wait_for(lambda: node.state is NodeState.DRAINING, 10, lambda: node.log)
    node.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert node.wait_ended() == 0
    assert time.monotonic() - began < node.config.grace / 2
    assert desk.info("t").state is State.PENDING
    assert not [process for process in everything if process.is_running()]


def test_a_worker_leaves_nothing_behind(desk: Desk, node: Node) -> None:
    ids = [desk.submit("add", n, n) for n in range(50)]
    for task_id in ids:
        desk.end(task_id)
    everything = node.everything()
    assert len(everything) > 2
    assert node.stop() == 0
    assert not [process for process in everything if process.is_running()]
    assert not node.record.exists()


def test_no_descriptor_is_leaked(desk: Desk, node: Node) -> None:
    """Children come and go: the agent and the parent have as many descriptors as before."""

    def descriptors() -> tuple[int, int, int]:
        return (
            len(os.listdir(f"/proc/{node.agent}/fd")),
            len(os.listdir(f"/proc/{node.process.pid}/fd")),
            len(node.children),
        )

    desk.run("vanish", 1, crash_limit=1)
    desk.run("add", 1, 2)
    before = descriptors()
    for _ in range(5):
        desk.run("vanish", 1, crash_limit=1)
    desk.run("add", 1, 2)
    wait_for(lambda: descriptors() == before, 5, lambda: (before, descriptors()))


@pytest.mark.parametrize("function", ["sleep", "exec:sleep"])
def test_a_stop_that_is_ahead_of_its_task_is_heeded(desk: Desk, node: Node, tmp_path: Path, function: str) -> None:
    """SIGTERM may reach the child before it has read what to run; then nobody sends it again."""
    for number in range(15):
        if function == "sleep":
            task_id = desk.submit(function, str(tmp_path / "notes"), task_id=f"t{number}")
        else:
            request = TaskRequest("exec:sleep", ["600"], task_id=f"t{number}", memory_needed=1).check()
            desk.link.run(desk.store.submit([request]))
            task_id = f"t{number}"
        desk.link.run(desk.store.place())
        cancel(desk, task_id, grace=60)
        assert desk.end(task_id, timeout=10).state is State.CANCELLED
