"""``rq-sched`` as a process that can be asked what it waits for: ``python -m tests.faults.observed ARGUMENTS``.

SIGUSR1: it writes where each of its coroutines stands to its standard error, and goes on. It ends with who started it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from types import FrameType

from rq_sched.cli import main
from rq_sched.worker import system


def tell(_: int, frame: FrameType | None) -> None:
    """Write the stack, and where each coroutine of the event loop stands."""
    faulthandler.dump_traceback(all_threads=True)
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return  # no event loop runs here
    for task in sorted(tasks, key=lambda task: task.get_name()):
        task.print_stack(file=sys.stderr)
    sys.stderr.flush()


if __name__ == "__main__":
    system.die_with(os.getppid())
    signal.signal(signal.SIGUSR1, tell)
    sys.exit(main())
