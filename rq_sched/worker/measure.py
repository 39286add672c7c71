"""What the processes of a task use: quick looks, and exact ones that cost more the more memory there is.

The quick look counts every page that a process sees, so a page that several share counts several times, and so do the
libraries and what a child has in common with the worker's parent. It is never too low (but for swap). The exact look
counts a page that n processes share as 1/n in each, no files (the kernel can drop them), and swap: what would be free
if these processes were gone. It takes about 16 µs a MB.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from rq_sched.worker import system

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1024**2
_EXACT = (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:")


class Use(NamedTuple):
    """CPU seconds used so far (also by processes that have ended and were waited for), and MB now."""

    cpu: float
    memory: float


def quick(pids: Iterable[int]) -> Use:
    """A quick look at all of these together."""
    if not system.LINUX:
        return _by_psutil(pids)
    ticks = pages = 0
    for pid in pids:
        fields = system.read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if len(fields) > 21:
            ticks += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
            pages += int(fields[21])
    return Use(ticks / _TICK, pages * _PAGE_MB)


def exact(pids: Iterable[int]) -> float:
    """MB that are these processes' own; call it in a thread."""
    if not system.LINUX:
        return _own_by_psutil(pids)
    kilobytes = 0.0
    for pid in pids:
        lines = system.read_bytes(f"/proc/{pid}/smaps_rollup").splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith(_EXACT)]
        if len(found) == len(_EXACT):
            kilobytes += sum(found)
        else:  # an old kernel, a process that has just ended, or one of another user
            kilobytes += quick([pid]).memory * 1024
    return kilobytes / 1024


def _by_psutil(pids: Iterable[int]) -> Use:
    import psutil

    cpu = memory = 0.0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            cpu += times.user + times.system + times.children_user + times.children_system
            memory += process.memory_info().rss / 1024**2
        except psutil.Error:
            continue
    return Use(cpu, memory)


def _own_by_psutil(pids: Iterable[int]) -> float:
    import psutil

    memory = 0.0
    for pid in pids:
        try:
            memory += psutil.Process(pid).memory_full_info().uss / 1024**2
        except psutil.Error:
            memory += _by_psutil([pid]).memory
    return memory
