"""One task and the next: whatever a task leaves behind, the next one on the same slot is as in a new process."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo
from rq_sched.worker import system
from tests.worker.kit import Desk
from tests.worker.pollution import FOR_ROOT, LEFT, LOOK_FROM_OUTSIDE, SAME, outside

pytestmark = pytest.mark.skipif(not system.LINUX, reason="only Linux tells what a process has left")

ROOM = "tests.worker.pollution"
COMMAND = f"exec:{sys.executable}"
ROWS = {**LEFT, **(FOR_ROOT if os.geteuid() == 0 else {})}


@pytest.fixture
def slot(desk: Desk) -> Desk:
    """A node for one task at a time."""
    desk.node(cpu=1, affinity="off")
    return desk


def run(desk: Desk, function: str, *args: Any, **options: Any) -> TaskInfo:
    """One run without a second chance."""
    target = function if function.startswith("exec:") else f"{ROOM}:{function}"
    info = desk.run(target, *args, crash_limit=1, **options)
    assert (info.attempt, info.crashes) == (1, 0), (function, args, info.error)
    return info


def differences(before: Any, now: Any) -> dict[str, Any]:
    return {name: (before[name], now.get(name)) for name in before if before[name] != now.get(name)}


@pytest.mark.parametrize(("polluter", "innocent"), [("pollute", "look"), ("pollute_later", "look_later")])
def test_the_next_function_is_as_in_a_new_process(slot: Desk, polluter: str, innocent: str) -> None:
    run(slot, "renew")
    fresh = run(slot, innocent).result
    del fresh["pid"]
    wrong: dict[str, Any] = {}
    for number, (what, (_, child)) in enumerate(ROWS.items()):
        run(slot, "renew")
        was = run(slot, polluter, what)
        if was.state is not State.COMPLETED:
            wrong[what] = was.error
            continue
        info = run(slot, innocent, task_id=f"innocent-{number}")
        if info.state is not State.COMPLETED:
            wrong[what] = info.error
            continue
        same = info.result.pop("pid") == was.result
        found = differences(fresh, info.result)
        if output := slot.output(info.task_id):
            found["output"] = output
        if child != "either" and same is not (child == SAME):
            found["child"] = "the same" if same else "a new one"
        if found:
            wrong[what] = found
    assert wrong == {}


COMMANDS = {
    "output not blocking": "import os; os.set_blocking(1, False)",
    "process": "import subprocess; subprocess.Popen(['sleep', '60'])",
    "orphan": "import os\nif os.fork() == 0:\n os.setsid()\n os.execlp('sleep', 'sleep', '60')",
    "parent's limits": "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))",
    "parent's priority": "import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 5)",
    "parent's cores": "import os; os.sched_setaffinity(os.getppid(), {min(os.sched_getaffinity(0))})",
}


def test_commands_leave_nothing_and_find_nothing(slot: Desk) -> None:
    """As polluters and as innocents, beside functions."""
    run(slot, "renew")
    fresh = run(slot, "look").result
    del fresh["pid"]
    run(slot, COMMAND, "-c", LOOK_FROM_OUTSIDE, task_id="fresh")
    seen = outside(slot.output("fresh"))
    wrong: dict[str, Any] = {}
    for number, (what, code) in enumerate(COMMANDS.items()):
        assert run(slot, COMMAND, "-c", code).state is State.COMPLETED
        info = run(slot, "look", task_id=f"function-{number}")
        del info.result["pid"]
        if found := differences(fresh, info.result):
            wrong[what] = found
        assert slot.output(info.task_id) == ""
    for number, what in enumerate(ROWS):
        run(slot, "renew")
        run(slot, "pollute", what)
        assert run(slot, COMMAND, "-c", LOOK_FROM_OUTSIDE, task_id=f"command-{number}").exit_code == 0
        if found := differences(seen, outside(slot.output(f"command-{number}"))):
            wrong[f"{what}, seen by a command"] = found
    assert wrong == {}


@pytest.mark.parametrize("what", ["task", "call", "thread", "signal", "writer", "settings"])
def test_an_event_loop_is_new_when_something_is_left_in_it(slot: Desk, what: str) -> None:
    fresh = run(slot, "look_later").result
    left = run(slot, "leave_in_loop", what)
    assert left.result == fresh["pid"], left.error
    info = run(slot, "look_later", task_id="innocent")
    assert differences(fresh, info.result) == {}
    assert slot.output("innocent") == ""


def test_what_short_tasks_leave_in_memory_is_not_charged_to_the_next(slot: Desk) -> None:
    """A child keeps 64 MB at most; they are nobody's."""
    run(slot, "renew")
    pids = [run(slot, "leave", 5).result for _ in range(12)]
    assert len(set(pids)) == 1
    info = run(slot, "last", 1.0, memory_needed=33)
    assert (info.state, info.result) == (State.COMPLETED, pids[0]), info.error
    run(slot, "leave", 10)
    assert run(slot, "last", 0.0).result != pids[0]
