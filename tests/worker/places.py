"""What tasks tell of where they run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rq_sched import current_task


def tell() -> dict[str, Any]:
    """Where it is, for a function: as Python and as its processes see it."""
    print("printed")
    print("complained", file=sys.stderr)
    subprocess.run(["echo", "by a process"], check=True)
    return {
        "folder": os.getcwd(),
        "env": os.environ.get("COLOUR"),
        "in processes": subprocess.check_output(["sh", "-c", "echo $COLOUR"], text=True).strip(),
        "hour": time.localtime(0).tm_hour,
        "stdin": sys.stdin.read(),
        "pid": os.getpid(),
    }


VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


def held() -> dict[str, Any]:
    """What it holds of its node's resources, as Python and as its processes see it; and which process it is."""
    inside = {name: text for name, text in os.environ.items() if name.startswith("RQ_SCHED_RESOURCE_")}
    inside |= {name: os.environ[name] for name in VISIBLE if name in os.environ}
    listed = subprocess.check_output(["env"], text=True).splitlines()
    in_processes = dict(line.split("=", 1) for line in listed if line.partition("=")[0] in inside)
    told = {name: [one.amount, list(one.indexes)] for name, one in current_task().resources.items()}
    return {"env": inside, "same": in_processes == inside, "resources": told, "pid": os.getpid()}


def hold(path: str, task_id: str) -> None:
    """Write down what it holds: begins after it has it, and ends before it gives it back. The first two wait for each
    other."""
    cards = current_task().resources["gpu"]
    visible = os.environ["CUDA_VISIBLE_DEVICES"]
    with open(path, "a", buffering=1) as file:
        file.write(f"begin {task_id} {cards.amount} {visible}\n")
        while Path(path).read_text().count("begin") < 2:
            time.sleep(0.001)
        time.sleep(0.01)  # what it does with them
        file.write(f"end {task_id} {cards.amount} {visible}\n")
