"""Which files are counted, and what each needs."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rq_sched import TaskRequest

LIMIT = 2000
"""Files, at most."""
SKIPPED = frozenset({"site-packages", "dist-packages", "__pycache__"})
FUNCTION = "examples.census.tasks:count_file"

KILOBYTE = 1024
MOST_MEMORY = 2048


@dataclass(frozen=True)
class Source:
    """One source file of the library."""

    name: str  # its path within the library
    path: Path
    size: int


def sources(limit: int = LIMIT) -> list[Source]:
    """The source files of this Python's standard library, by name."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(_walk(root, root), key=lambda source: source.name)[:limit]


def _walk(root: Path, folder: Path) -> Iterator[Source]:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.name not in SKIPPED:
            yield from _walk(root, entry)
        elif entry.suffix == ".py" and entry.is_file():
            yield Source(str(entry.relative_to(root)), entry, entry.stat().st_size)


def request(number: int, source: Source, notes: Path) -> TaskRequest:
    """The task that counts one file: the larger, the more it needs, and the earlier it runs."""
    kilobytes = source.size // KILOBYTE
    return TaskRequest(
        FUNCTION,
        [str(source.path)],
        {"notes": str(notes)},
        task_id=f"file-{number:04d}",
        cpu_needed=1 if kilobytes < 50 else 2 if kilobytes < 150 else 4,
        memory_needed=min(96 + 16 * kilobytes, MOST_MEMORY),
        priority=min(kilobytes // 10, 50),
    )
