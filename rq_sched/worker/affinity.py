"""Which cores the processes of a task may run on (Linux; elsewhere nothing is pinned).

A worker pins its tasks when the cores that it offers are real: it may run on as many, and no other worker of this user
on this machine has claimed them. A claim is a lock on the core's byte of one file, which ends with the process that
holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import zlib
from collections.abc import Callable, Iterable, Sequence

from rq_sched.process.embedded import state_dir

ROUNDS = 10
"""How often a tree of processes is looked through until all of it is pinned."""


def claim(count: int, name: str) -> tuple[tuple[int, ...], str]:
    """Claim so many cores for this process, for as long as it lives.

    Parameters:
        name: where it begins to look, so that workers that can't see each other's claims spread out.

    Returns:
        The cores; none if the node's cores aren't real, and why.
    """
    if not hasattr(os, "sched_setaffinity"):
        return (), "this system can't pin processes to cores"
    usable = sorted(os.sched_getaffinity(0))
    if count > len(usable):
        return (), f"it offers {count} cores and may run on {len(usable)}"
    if count < len(usable):
        begin = zlib.crc32(name.encode()) % len(usable)
        usable = usable[begin:] + usable[:begin]
    try:
        folder = state_dir() / "workers"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(folder / "cores", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        return (), f"cores can't be claimed: {error}"
    found: list[int] = []
    for core in usable:
        if len(found) < count and _lock(file, core):
            found.append(core)
    if len(found) < count:
        os.close(file)  # and with it, what was locked
        return (), f"{count - len(found)} of its cores belong to another worker on this machine"
    return tuple(sorted(found)), ""  # the file stays open: the locks are held by it


def _lock(file: int, core: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, core)
    except OSError:
        return False
    return True


def pin_self(cores: Sequence[int]) -> None:
    """Pin this process, all of its threads: earlier tasks may have left some. When nothing changes, which is mostly so,
    that takes a microsecond."""
    wanted = set(cores)
    if os.sched_getaffinity(0) != wanted:
        _pin_threads(os.getpid(), wanted, set())


def pin(processes: Callable[[], Iterable[int]], cores: Iterable[int]) -> None:
    """Pin these processes, also those that are just being started."""
    wanted, done = set(cores), set[int]()
    for _ in range(ROUNDS):
        before = len(done)
        for pid in processes():
            _pin_threads(pid, wanted, done)
        if len(done) == before:
            return


def _pin_threads(pid: int, cores: set[int], done: set[int]) -> None:
    with contextlib.suppress(OSError, ValueError):
        for thread in map(int, os.listdir(f"/proc/{pid}/task")):
            if thread not in done:
                with contextlib.suppress(OSError):  # it has ended, or belongs to another user
                    os.sched_setaffinity(thread, cores)
                done.add(thread)
