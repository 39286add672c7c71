"""A worker where the system isn't Linux, as far as Linux can play it: no ``/proc``, no subreapers, no pinning."""

from __future__ import annotations

import os
import sys

import pytest

from rq_sched.model.states import Reason, State
from tests.worker.kit import Desk

ELSEWHERE = """
import builtins, ctypes, os
from rq_sched.worker import system
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # zombies are reaped at once, as launchd does; some containers' init doesn't
system.LINUX = False
def without_proc(function):
    def call(path, *args, **kwargs):
        if isinstance(path, str) and path.startswith("/proc"):
            raise FileNotFoundError(2, "there is no /proc", path)
        return function(path, *args, **kwargs)
    return call
for name in ("open", "stat", "listdir", "readlink"):
    setattr(os, name, without_proc(getattr(os, name)))
builtins.open = without_proc(open)
for name in ("sched_setaffinity", "sched_getaffinity", "sched_getscheduler", "sched_setscheduler", "SCHED_BATCH"):
    delattr(os, name)
"""


@pytest.fixture
def slot(desk: Desk) -> Desk:
    """A node for one task at a time."""
    desk.node(cpu=1, prelude=ELSEWHERE)
    return desk


def test_each_task_has_a_child_of_its_own_and_is_told_what_it_has(slot: Desk) -> None:
    pids = []
    for number in range(3):
        info = slot.run("tests.worker.elsewhere:look", number, task_id=f"t{number}", memory_needed=300)
        assert info.state is State.COMPLETED, info.error
        pids.append(info.result["pid"])
        assert info.result["told"] == {
            "RQ_SCHED_TASK_ID": f"t{number}",
            "RQ_SCHED_ATTEMPT": "1",
            "RQ_SCHED_CPUS": "1",
            "RQ_SCHED_MEMORY_MB": "300",
        }
        assert info.result["left"] is None
        assert slot.output(f"t{number}") == f"task {number}\n"
    assert len(set(pids)) == 3


def test_coroutines_commands_and_failures(slot: Desk) -> None:
    assert slot.run("tests.worker.elsewhere:later", 4).result == 4
    assert slot.run(f"exec:{sys.executable}", "-c", "print('out')", task_id="command").exit_code == 0
    assert slot.output("command") == "out\n"
    failed = slot.run("tests.worker.elsewhere:fail")
    assert (failed.state, failed.reason, failed.attempt) == (State.FAILED, Reason.ERROR, 1)


def test_what_a_task_has_started_ends_with_it(slot: Desk) -> None:
    info = slot.run("tests.worker.elsewhere:leave_process")
    assert info.state is State.COMPLETED, info.error
    with pytest.raises(ProcessLookupError):
        os.kill(info.result, 0)
