"""What ``/proc/self`` says: in one read of ``status``, most of what the kernel keeps for a process."""

from __future__ import annotations

import os

from rq_sched.worker import system

NOBODYS = frozenset({b"State", b"Ngid", b"FDSize", b"Kthread", b"PPid", b"SigQ", b"CoreDumping"})
"""Lines that no task answers for."""
OF_SIGNALS = frozenset({b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn", b"SigCgt"})
OF_LIBC = 0b11 << 31
"""Signals 32 and 33 in a mask: glibc handles them from the first thread on."""


class Descriptors:
    """The descriptors of this process."""

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
        data = os.pread(self._file, 16384, 0)
        self._lines = _lines(data)
        self._head, self._tail, self._cores = _parts(data)
        self._memory = _memory(data)
        self._at_first = _weight(self._memory)
        self.changed: frozenset[bytes] = frozenset()
        """Lines that aren't as they were at first, as of the last look."""
        self.cores_changed = False
        """Whether it may run on other cores than at first."""
        self.kept = 0
        """MB more than at first."""

    def look(self) -> bool:
        """Look anew; False: there are other threads."""
        data = os.pread(self._file, 8192, 0)
        if b"\nThreads:\t1\n" not in data:
            return False
        memory, behind, signals = data.find(b"VmPeak:"), data.find(b"VmData:"), data.find(b"SigPnd:")
        cores, end = data.find(b"Cpus_allowed:", signals), data.find(b"Mems_allowed:", signals)
        if data[:memory] != self._head or data[signals:cores] != self._tail:
            self._compare(data)
        elif self.changed:
            self.changed = frozenset()
        self.cores_changed = data[cores:end] != self._cores
        memory = data.find(b"VmRSS:", memory)
        if data[memory:behind] != self._memory:
            self._memory = data[memory:behind]
            self.kept = max(0, _weight(self._memory) - self._at_first) // 1024
        return True

    def _compare(self, data: bytes) -> None:
        now = _lines(data)
        names = now.keys() | self._lines.keys()
        self.changed = frozenset(name for name in names if now.get(name) != self._lines.get(name))
        if not self.changed:  # what is nobody's has changed
            self._head, self._tail, _ = _parts(data)

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


def _memory(data: bytes) -> bytes:
    return data[data.find(b"VmRSS:") : data.find(b"VmData:")]


def _weight(memory: bytes) -> int:
    """KB that aren't a file's, which the kernel could just drop."""
    found = dict(line.split()[:2] for line in memory.splitlines())
    return int(found[b"RssAnon:"]) + int(found[b"RssShmem:"])
