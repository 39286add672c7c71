"""Who may speak for a task: only the process that got its order, and only while it runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rq_sched.model.states import Reason, State
from rq_sched.model.task import TaskInfo
from rq_sched.worker import system
from tests.worker.kit import Desk, Node, lines_of

pytestmark = pytest.mark.skipif(not system.LINUX, reason="processes are told apart on Linux")

ROOM = "tests.worker.intruders"


@pytest.fixture
def slot(desk: Desk) -> Desk:
    """A node for one task at a time."""
    desk.node(cpu=1)
    return desk


def beside_innocents(desk: Desk, notes: Path, function: str, *args: object, **options: object) -> TaskInfo:
    """Submit it with two innocents right behind it; they have their own effect, once each, and cost nothing."""
    first = desk.submit(f"{ROOM}:{function}", *args, **{"crash_limit": 1, **options})  # type: ignore[arg-type]
    names = [f"{notes.name}-{n}" for n in range(2)]
    innocents = [desk.submit(f"{ROOM}:work", str(notes), name, task_id=name, crash_limit=1) for name in names]
    found = desk.end(first)
    for task_id in innocents:
        info = desk.end(task_id)
        assert (info.state, info.result, info.attempt, info.crashes) == (State.COMPLETED, task_id, 1, 0), info.error
        assert info.progress is None
        assert desk.output(task_id) == f"{task_id}\n"
    assert sorted(lines_of(notes)) == innocents
    return found


def test_a_forked_process_does_not_speak_for_its_task(slot: Desk, tmp_path: Path) -> None:
    for how in ("return", "raise", "exit", "nested", "thread", "generator", "await", "raw"):
        function = "fork_later" if how == "await" else "fork"
        info = beside_innocents(slot, tmp_path / how, function, how, task_id=f"fork-{how}")
        assert (info.state, info.result) == (State.COMPLETED, "of the task itself"), (how, info.error)
        printed = slot.output(info.task_id)
        assert printed.startswith("before"), how
        if how != "raw":  # of such a fork Python doesn't know
            assert printed.count("before") == 1, "what was printed before is written once"
        assert ("in the forked process" in printed) is (how == "raise")


def test_a_thread_that_goes_on_reaches_no_other_task(slot: Desk, tmp_path: Path) -> None:
    for what in ("progress", "release", "grow", "print", "cpu"):
        info = beside_innocents(slot, tmp_path / what, "go_on", what)
        assert info.state is State.COMPLETED, (what, info.error)


def test_what_is_kept_of_a_task_that_has_ended_is_of_no_use(slot: Desk) -> None:
    assert slot.run(f"{ROOM}:keep_task").state is State.COMPLETED
    assert slot.run(f"{ROOM}:use_kept").result == ["this task has ended"] * 3 + [1, 256, False]


FRAMES: list[object] = [
    ["DONE", "another", None, b"\xa6forged", None, None, "", 0],
    ["DONE", "mine", None, b"\xa6forged", None, True, "", 0],
    ["DONE"],
    ["PROGRESS", "another", 0.5],
    ["PROGRESS", "mine", True],
    ["RESIZE", "mine", True, False],
    ["RESIZE", "mine", 0, 2**63],
    ["RESIZE", "another", 1, 64],
    ["NOT_BEGUN", "another", "the node is broken"],
    ["SIZE", 4, 4096, True],
    ["RUN", "mine", "t", 1, "os:getpid", b"", 1, 64, 1, 64, None],
    ["FORK", 1],
    ["CLOSE", True],
    [],
    b"no frame",
    b"\xdd\x7f\xff\xff\xff",
    b"\xdd\x00\x3f\xff\xff" * 1000,
    b"\x91" * 100_000,
    b"\xc6\x00\x3f\xff\xff" + b"x" * 100_000,
]


def test_forged_frames_end_their_task_and_nothing_else(slot: Desk, tmp_path: Path) -> None:
    agent = slot.nodes[0].agent
    for number, frame in enumerate(FRAMES):
        info = beside_innocents(slot, tmp_path / f"notes-{number}", "forge", frame, time_limit=2.0)
        assert info.state is State.FAILED, frame
        assert info.reason in (Reason.POISON, Reason.TIMEOUT), frame  # half a frame is waited for
        assert info.result is None
    assert slot.nodes[0].agent == agent


def test_an_innocent_is_not_charged_for_what_has_outlived_another_task(slot: Desk, tmp_path: Path) -> None:
    """Its child is ended, as somebody else writes to it with the token of an earlier attempt."""
    go = tmp_path / "go"
    slot.run(f"{ROOM}:keep_token")
    innocent = slot.submit(f"{ROOM}:spoken_for", str(go), crash_limit=1)
    info = slot.end(innocent)
    assert (info.state, info.result, info.crashes) == (State.COMPLETED, "its own", 0), info.error


def test_whatever_is_raised_is_an_ordinary_failure(desk: Desk, node: Node) -> None:
    before = desk.run("number_of_process").result
    for how in ("surrogate", "huge", "evil", "group", "recursion", "deep", "exit", "interrupt", "notes", "class"):
        info = desk.run(f"{ROOM}:raises", how, crash_limit=1)
        assert (info.state, info.reason, info.crashes) == (State.FAILED, Reason.ERROR, 0), (how, info.error)
        assert info.error
        if how == "surrogate":
            assert "caf\\udce9.txt" in info.error
    assert desk.run("number_of_process").result == before


def test_how_a_command_ended_is_not_guessed(slot: Desk) -> None:
    for reap in ("ignore", "thread"):
        slot.run(f"{ROOM}:reap_all", reap)
        info = slot.run("exec:sh", "-c", "exit 7")
        assert (info.state, info.exit_code) == (State.FAILED, 7), info.error


def test_an_order_for_a_child_that_was_told_to_stop_goes_to_another(slot: Desk) -> None:
    first = slot.run("number_of_process").result
    os.kill(first, signal.SIGTERM)
    info = slot.run("number_of_process", crash_limit=1)
    assert (info.state, info.attempt, info.crashes) == (State.COMPLETED, 1, 0)
    assert info.result != first
