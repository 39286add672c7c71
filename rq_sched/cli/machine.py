"""What this machine has to offer: its cores, its memory, its name. A container's limits count."""

from __future__ import annotations

import math
import os
import re
import socket
from pathlib import Path

from rq_sched.model.resources import Resources

HEADROOM = 0.1
"""Share of the memory that is left to the system and to rq-sched itself, at least ``MIN_HEADROOM`` MB."""
MIN_HEADROOM = 512
CGROUP = Path("/sys/fs/cgroup")


def machine_size(cgroup: Path = CGROUP) -> Resources:
    """The cores that this process may use, and the memory, less the headroom."""
    import psutil

    total = psutil.virtual_memory().total // 1024**2
    memory = min(total, _memory_limit(cgroup) or total)
    headroom = min(max(int(memory * HEADROOM), MIN_HEADROOM), memory // 2)
    return Resources(min(_cores(), _core_limit(cgroup) or _cores()), max(1, memory - headroom))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _core_limit(cgroup: Path) -> int | None:
    """The quota of a container in whole cores; None where there is none."""
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if not (quota.isdigit() and period.isdigit()):
        return None
    return max(1, math.floor(int(quota) / int(period)))


def _memory_limit(cgroup: Path) -> int | None:
    text = _read(cgroup / "memory.max")
    return int(text) // 1024**2 if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def default_node_id() -> str:
    """The machine's name, with what an id can't have replaced."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).lstrip("._-")[:128]
    return name or "node"
