"""What ``/proc/self`` says: in one read of ``status``, most of what the kernel keeps for a process."""

from __future__ import annotations

import os

from rq_sched.worker import system

NOBODYS = frozenset({b"State", b"Ngid", b"FDSize", b"Kthread", b"PPid", b"SigQ", b"CoreDumping"})
"""Lines that no task answers for."""
OF_SIGNALS = frozenset({b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn", b"SigCgt"})
OF_LIBC = 0b11 << 31
"""Signals 32 and 33 in a mask: glibc handles them from the first thread on."""
ALONE = b"\nThreads:\t1\n"
ROOM = 8192
"""Bytes that a status has room for, also on a machine with thousands of cores."""


class Descriptors:
    """The descriptors of this process (Linux)."""

    def __init__(self) -> None:
        self._folder = os.open("/proc/self/fd", os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)

    def count(self) -> int:
        """How many are open."""
        return os.fstat(self._folder).st_size or len(os.listdir(self._folder))  # Linux 6.2 says it at once


class Children:
    """The processes right below this one, which has a single thread."""

    def __init__(self) -> None:
        self._file = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)

    def remain(self) -> bool:
        """Whether there are any; those that have ended are reaped on the way."""
        return bool(os.pread(self._file, 8, 0)) and system.has_children()


class Status:
    """The status of this process as it is now, to be compared with after each task (Linux)."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        data = os.pread(self._file, ROOM, 0)
        self._lines = _lines(data)
        self._cores = _parts(data)[2]
        self.changed: frozenset[bytes] = frozenset()
        """Lines that aren't as they were at first, as of the last look."""
        self.cores_changed = False
        """Whether it may run on other cores than at first."""
        self.kept = 0
        """MB more than at first."""
        self._compare(data)
        self._memory = data[self._memory_at]
        self._at_first = _weight(self._memory)

    def look(self) -> bool:
        """Look anew; False: there are other threads."""
        data = os.pread(self._file, ROOM, 0)
        same = data.startswith
        if not (same(self._head) and same(ALONE, self._threads_at) and same(self._tail, self._tail_at)):
            if ALONE not in data:
                return False
            self._compare(data)
        if data[self._memory_at] != self._memory:
            self._memory = data[self._memory_at]
            self.kept = max(0, _weight(self._memory) - self._at_first) // 1024
        return True

    def _compare(self, data: bytes) -> None:
        """Look closely. What is said in the same places and the same words later has the same answer."""
        now = _lines(data)
        names = now.keys() | self._lines.keys()
        self.changed = frozenset(name for name in names if now.get(name) != self._lines.get(name))
        self._head, tail, cores = _parts(data)
        self._tail = tail + cores
        self.cores_changed = cores != self._cores
        self._tail_at, self._threads_at = data.find(self._tail), data.find(ALONE)
        self._memory_at = slice(data.find(b"VmRSS:"), data.find(b"VmData:"))

    def was(self, name: bytes) -> str:
        """What a line said at first."""
        return self._lines[name].decode()


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before memory, what stands behind it, and the cores: all that is mostly the same."""
    cores = data.find(b"Cpus_allowed:")
    return (
        data[: data.find(b"VmPeak:")],
        data[data.find(b"SigPnd:") : cores],
        data[cores : data.find(b"Mems_allowed:")],
    )


def _lines(data: bytes) -> dict[bytes, bytes]:
    head, tail, _ = _parts(data)
    lines = (line.partition(b":\t") for line in (head + tail).splitlines())
    found = {name: text for name, _, text in lines if name not in NOBODYS}
    found[b"SigCgt"] = b"%016x" % (int(found[b"SigCgt"], 16) & ~OF_LIBC)
    return found


def _weight(memory: bytes) -> int:
    """KB that aren't a file's, which the kernel could just drop."""
    found = dict(line.split()[:2] for line in memory.splitlines())
    return int(found[b"RssAnon:"]) + int(found[b"RssShmem:"])
