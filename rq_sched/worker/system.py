"""What the operating system is asked for beyond Python's ``os``: on Linux through ``prctl`` and ``/proc``; elsewhere
each function does the little that is possible, and says so."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import time

LINUX = sys.platform == "linux"

_SHORT = 2048
"""A read from ``/proc`` that gave less than this was the last one: pages are larger, and records shorter."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_WALL = 0x40000000 if LINUX else 0
"""Also children that were made by clone() so that no signal tells their end."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""macOS' monotonic clock runs during sleep anyway."""


def _prctl(option: int, value: int | bytes) -> None:
    if LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def boot_clock() -> float:
    """Seconds on a clock that also runs while the machine is suspended."""
    return time.clock_gettime(_CLOCK)


def adopt_orphans() -> None:
    """Processes below us whose parent dies become our children, instead of getting away (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int, signum: int = signal.SIGKILL) -> None:
    """Get this signal when ``parent``, the process that forked us, is gone (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, signum)
    if LINUX and os.getppid() != parent:  # gone before we asked
        os._exit(1)


def keep_private(private: bool = True) -> None:
    """Whether other processes of this user, debuggers among them, may not look into our memory, environment and
    descriptors (Linux). What we fork inherits that, what it executes doesn't."""
    _prctl(_PR_SET_DUMPABLE, 0 if private else 1)


def first_to_go() -> None:
    """When memory runs out, the kernel should kill us rather than those that look after us (Linux)."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")
    except OSError:
        pass


def yield_to_agent() -> None:
    """Don't interrupt who wakes us (Linux): an agent that hands out many tasks does so in one go, before they begin.
    Shares of the CPU stay the same."""
    if hasattr(os, "SCHED_BATCH"):
        try:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        except OSError:
            pass


def name_process(name: str) -> None:
    """What ``ps -o comm`` and ``top`` show (Linux; 15 letters)."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


@functools.cache
def boot_id() -> str:
    """Differs after each start of the machine; empty where it isn't known."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def birth_of(pid: int) -> str:
    """When a process began, in ticks since the start of the machine: with its id, unique. Empty: not known."""
    stat = _stat(pid)
    return stat[19] if stat else ""


def children_of(pid: int) -> list[int]:
    """The ids of a process' children, the oldest first of each thread (Linux)."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        found += map(int, read_bytes(_children_file(pid, thread)).split())
    return found


def _children_file(pid: int, thread: int | str) -> str:
    return f"/proc/{pid}/task/{thread}/children"


def below(pid: int) -> list[int]:
    """All processes below one, be they zombies."""
    if not LINUX:
        return _below_by_psutil(pid)
    found, i = children_of(pid), 0
    while i < len(found):
        found += children_of(found[i])
        i += 1
    return found


def _below_by_psutil(pid: int) -> list[int]:
    import psutil

    try:
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def open_children(pid: int) -> int:
    """A descriptor from which the ids of the children of a process (with one thread) can be read again and again, in
    less than a microsecond; -1: there is none."""
    try:
        return os.open(_children_file(pid, pid), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def oom_kills() -> int:
    """How many processes the kernel has killed on this machine because memory ran out (Linux)."""
    for line in read_bytes("/proc/vmstat").splitlines():
        if line.startswith(b"oom_kill "):
            return int(line.split()[1])
    return 0


def group_exists(group: int) -> bool:
    """Whether any process of a group is left, be it a zombie."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of zombies, Linux of a process that changed its user
        return True
    return True


def group_runs(group: int) -> bool:
    """Whether any process of a group is left that isn't a zombie: those of others may not be reaped for long."""
    if not group_exists(group):
        return False
    if not LINUX:
        return True
    stats = (_stat(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return any(stat[2] == str(group) and stat[0] not in "ZX" for stat in stats if stat)


def runs(pid: int) -> bool:
    """Whether a process is there and isn't a zombie."""
    stat = _stat(pid)
    return bool(stat) and stat[0] not in "ZX" if LINUX else signal_process(pid, 0)


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, as by Ctrl-Z in its terminal."""
    if LINUX:
        return _stat(pid)[:1] == ["T"]
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def signal_group(group: int, number: int) -> bool:
    """Signal all processes of a group; whether there were any that we may signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def signal_process(pid: int, number: int) -> bool:
    """Signal one process; whether it was there and we may."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def has_children() -> bool:
    """Whether this process has children; those that have ended are reaped on the way."""
    try:
        while os.waitpid(-1, os.WNOHANG | _WALL)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _stat(pid: int) -> list[str]:
    """The fields of a process from its state on: state, parent, group, …; empty if it isn't there."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def read_bytes(path: str) -> bytes:
    """What a file in ``/proc`` says, quickly; empty if it isn't there. One of many records comes a page at a time."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        whole = part = os.read(file, 64 * 1024)
        while len(part) >= _SHORT:
            part = os.read(file, 64 * 1024)
            whole += part
        return whole
    except OSError:  # the process has ended meanwhile
        return b""
    finally:
        os.close(file)
