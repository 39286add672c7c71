"""What the worker in ``tests/worker/test_elsewhere.py`` runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import Any

TOLD = (
    "RQ_SCHED_TASK_ID",
    "RQ_SCHED_ATTEMPT",
    "RQ_SCHED_CPUS",
    "RQ_SCHED_MEMORY_MB",
    "RQ_SCHED_ARRAY_INDEX",
)


def look(number: int) -> dict[str, Any]:
    """What it is told, and what the one before has left."""
    print(f"task {number}")
    told = {name: os.environ[name] for name in TOLD if name in os.environ}
    left = os.environ.get("LEFT")
    os.environ["LEFT"] = os.environ["RQ_SCHED_ARRAY_INDEX"] = "1"
    return {"pid": os.getpid(), "told": told, "left": left}


async def later(number: int) -> int:
    await asyncio.sleep(0)
    return number


def fail() -> None:
    raise ValueError("it fails")


def leave_process() -> int:
    """It goes on when its task has ended."""
    return subprocess.Popen(["sleep", "60"]).pid
