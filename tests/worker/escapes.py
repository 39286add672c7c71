"""Tasks whose processes try to get away, each by another way; run by workers in tests (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine, 56)
_CLONE_PARENT = 0x8000
_PDEATHSIG, _NAME, _SUBREAPER = 1, 15, 36


def _hide(name: str) -> NoReturn:
    """Live on under a name that the test looks for."""
    _libc.prctl(_NAME, name.encode(), 0, 0, 0)
    time.sleep(120)
    os._exit(0)


def _clone(flags: int) -> int:
    """fork(), told apart only by its flags."""
    return int(_libc.syscall(_CLONE, flags, 0, 0, 0, 0))


def _orphan(name: str, session: bool = True) -> None:
    pid = os.fork()
    if pid == 0:
        if session:
            os.setsid()
        if os.fork() == 0:
            _hide(name)
        os._exit(0)
    os.waitpid(pid, 0)


def _comet(name: str) -> None:
    """It flies on from process to process, each the orphan of the one before."""
    if os.fork() == 0:
        os.setsid()
        _libc.prctl(_NAME, name.encode(), 0, 0, 0)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
        os._exit(0)


def _with_another_environment(name: str) -> None:
    text = f"import ctypes, time; ctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0); time.sleep(120)"
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            os.execve(sys.executable, [sys.executable, "-c", text], {})
        os._exit(0)


def _named(fork: Callable[[], int], name: str) -> None:
    if fork() == 0:
        _hide(name)


def _fork_a_group() -> int:
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
    return pid


def _from_a_thread(name: str) -> None:
    thread = threading.Thread(target=_orphan, args=(name,))
    thread.start()
    thread.join()


def _after(option: int, value: int, name: str) -> None:
    _libc.prctl(option, value, 0, 0, 0)
    _libc.prctl(_PDEATHSIG, 0, 0, 0, 0)
    _orphan(name)


def _after_a_signal_to_the_subreaper(signum: int, name: str) -> None:
    _libc.prctl(_PDEATHSIG, 0, 0, 0, 0)
    _orphan(name)
    os.kill(os.getppid(), signum)
    if signum == signal.SIGKILL:
        time.sleep(60)


WAYS: dict[str, Callable[[str], None]] = {
    "child": lambda name: _named(os.fork, name),
    "group": lambda name: _named(_fork_a_group, name),
    "orphan": lambda name: _orphan(name, session=False),
    "daemon": _orphan,
    "clone_parent": lambda name: _named(lambda: _clone(_CLONE_PARENT | signal.SIGCHLD), name),
    "clone_silent": lambda name: _named(lambda: _clone(0), name),
    "not_a_subreaper": lambda name: _after(_SUBREAPER, 0, name),
    "a_subreaper": lambda name: _after(_SUBREAPER, 1, name),
    "environment": _with_another_environment,
    "thread": _from_a_thread,
    "comet": _comet,
    "subreaper_stopped": lambda name: _after_a_signal_to_the_subreaper(signal.SIGSTOP, name),
    "subreaper_killed": lambda name: _after_a_signal_to_the_subreaper(signal.SIGKILL, name),
}


def escape(way: str, name: str) -> str:
    """Start a process that outlives the task, by this way."""
    WAYS[way](name)
    return "left"


def _note_and_wait(path: str, until: str) -> None:
    Path(path).write_text(str(os.getpid()))
    while not Path(until).exists():
        time.sleep(0.01)


def make_orphans(n: int, path: str, until: str) -> int:
    """Orphans that end at once; then it goes on."""
    for _ in range(n):
        pid = os.fork()
        if pid == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.waitpid(pid, 0)
    _note_and_wait(path, until)
    return n


def start_short_ones(n: int) -> int:
    """Children that end at once, each waited for; those that ended as they should."""
    commands = n // 20
    rights = [subprocess.run(["false"], check=False).returncode == 1 for _ in range(commands)]
    return sum(rights) + sum(_ended_with(7) for _ in range(n - commands))


def _ended_with(code: int) -> bool:
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code


def hog_behind_zombies(zombies: int, megabytes: int) -> None:
    """Children that ended and aren't waited for, then one that takes memory."""
    for _ in range(zombies):
        if os.fork() == 0:
            os._exit(0)
    _hog(megabytes)
    time.sleep(60)


def hog_as_orphan(megabytes: int) -> None:
    if os.fork() == 0:
        os.setsid()
        _hog(megabytes)
        os._exit(0)
    os.wait()
    time.sleep(60)


def _hog(megabytes: int) -> None:
    if os.fork() == 0:
        held = bytearray(megabytes << 20)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(60)
        os._exit(0)
