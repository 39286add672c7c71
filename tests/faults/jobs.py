"""What the tasks of these tests do: something that can be counted outside Redis."""

from __future__ import annotations

import os
import time

PROCESS = "CLUSTER_PROCESS"
"""The variable in which what a node starts finds the node's name."""


def note(path: str, text: str, seconds: float = 0.0) -> None:
    """Append a line to a file; one write, so that lines of several processes don't mix."""
    time.sleep(seconds)
    line = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(line, f"{text}\n".encode())
    os.close(line)


def effect(seconds: float) -> None:
    """Write begin and end to the file of this node: attempt, and time on a clock that all processes share."""
    for what in "BE":
        note(
            os.environ["CHAOS_RAN"],
            f"{what} {os.environ['RQ_SCHED_TASK_ID']} {os.environ['RQ_SCHED_ATTEMPT']} {time.monotonic()}",
            seconds if what == "E" else 0.0,
        )


def step(path: str, used: dict[str, str], fails: bool) -> str:
    """A task of a graph: its begin and its end in a file, and its id as the result. ``used``: results of others, by
    their ids."""
    task_id = os.environ["RQ_SCHED_TASK_ID"]
    note(path, f"B {task_id}")
    assert all(given == result for given, result in used.items()), used
    note(path, f"{'F' if fails else 'E'} {task_id}")
    if fails:
        raise ValueError("as it was told")
    return task_id


def taking(path: str, what: str, seconds: float) -> None:
    """Write the begin and the end to a file that all tasks share: time, node, task, and at the begin what it takes and
    which cards it sees."""
    where = f"{os.environ[PROCESS]} {os.environ['RQ_SCHED_TASK_ID']}"
    note(path, f"B {time.monotonic()} {where} {what} {os.environ.get('RQ_SCHED_RESOURCE_GPU', '')}")
    time.sleep(seconds)
    note(path, f"E {time.monotonic()} {where}")
