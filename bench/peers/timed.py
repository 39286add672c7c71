"""The task with needs: it sleeps, and notes in a file when it began and when it ended."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


def f(path: str, number: int, seconds: float) -> None:
    """Sleeps. Whatever runs it appends two lines: number, event, clock in ns, process."""
    _note(path, number, "began")
    time.sleep(seconds)
    _note(path, number, "ended")


def _note(path: str, number: int, event: str) -> None:
    with open(path, "ab", buffering=0) as file:
        file.write(f"{number} {event} {time.time_ns()} {os.getpid()}\n".encode())


@dataclass(slots=True)
class Run:
    """One time that a task ran. ``began``, ``ended``: seconds; ``ended`` is None as long as it hasn't."""

    number: int
    process: int
    began: float
    ended: float | None = None


def runs(path: Path) -> list[Run]:
    """What the tasks have noted so far, in the order of their beginnings. A task that ran twice is there twice."""
    found: list[Run] = []
    under_way: dict[tuple[int, int], Run] = {}
    for line in path.read_text(encoding="ascii").splitlines() if path.exists() else ():
        number, event, clock, process = line.split()
        key = int(number), int(process)
        if event == "began":
            under_way[key] = Run(*key, began=int(clock) / 1e9)
            found.append(under_way[key])
        else:
            under_way.pop(key).ended = int(clock) / 1e9
    return sorted(found, key=lambda run: run.began)
