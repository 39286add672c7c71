"""Standard input that goes with a task: its content travels with the arguments."""

from __future__ import annotations

import os
import select
import stat

from rq_sched.cli.failure import print_warning
from rq_sched.errors import PayloadTooLarge
from rq_sched.model.values import MAX_PAYLOAD

SILENT_SECONDS = 2.0
"""A pipe that says nothing for so long may be one that nobody meant for the task."""


def is_given() -> bool:
    """Whether standard input is a file or a pipe: something that was meant to be read."""
    try:
        kind = os.fstat(0).st_mode
    except OSError:  # it is closed
        return False
    return stat.S_ISREG(kind) or stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)


def read(*, as_json: bool) -> bytes:
    """All of it.

    Raises:
        PayloadTooLarge: it is more than goes with a task.
    """
    if not select.select([0], [], [], SILENT_SECONDS)[0]:
        print_warning(
            "waiting for the end of standard input, which goes with the task; if it needs none: </dev/null",
            as_json=as_json,
        )
    content = bytearray()
    while len(content) <= MAX_PAYLOAD and (piece := os.read(0, MAX_PAYLOAD)):
        content += piece
    if len(content) > MAX_PAYLOAD:
        raise PayloadTooLarge(
            f"standard input has more than the {MAX_PAYLOAD:,} bytes that go with a task: put it into a file that "
            "nodes can read, and name that with --stdin FILE"
        )
    return bytes(content)
