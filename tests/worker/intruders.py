"""Tasks that speak for others, and innocents beside them: run by the worker in ``test_containment.py``."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgpack

from rq_sched import current_task
from rq_sched.context import CurrentTask
from rq_sched.worker.frames import Word

_kept: list[Any] = []


def work(path: str, name: str) -> str:
    """The innocent: has an effect, prints, takes a moment."""
    with open(path, "a") as file:
        file.write(name + "\n")
    print(name)
    time.sleep(0.1)
    return name


# -- processes ------------------------------------------------------------------------------------


def fork(how: str) -> str:
    print("before", end="")
    if how == "thread":
        thread = threading.Thread(target=_fork, args=(how,))
        thread.start()
        thread.join()
        return "of the task itself"
    if how == "generator":
        return next(_forks())
    if how == "nested":
        return [_fork(how) for _ in range(2)].pop()  # also in the forked process
    return _fork(how)


def _forks() -> Iterator[str]:
    yield _fork("generator")


async def fork_later(how: str) -> str:
    print("before", end="")
    await asyncio.sleep(0)
    found = _fork(how)
    await asyncio.sleep(0)
    return found


def _fork(how: str) -> str:
    pid = ctypes.CDLL(None).fork() if how == "raw" else os.fork()
    if pid == 0:
        if how == "raise":
            raise ValueError("in the forked process")
        if how == "exit":
            sys.exit(3)
        return "of the forked process"
    os.waitpid(pid, 0)
    time.sleep(0.2)
    return "of the task itself"


# -- threads --------------------------------------------------------------------------------------


def go_on(what: str) -> None:
    me = current_task()
    acts = {
        "progress": lambda: me.progress(0.77),
        "release": lambda: me.shrink_to(memory=40),
        "grow": lambda: me.try_grow_to(memory=me.memory + 1),
        "print": lambda: print("from another task", flush=True),
        "cpu": lambda: me.cpu,
    }

    def run() -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                acts[what]()  # type: ignore[no-untyped-call]
            except BaseException as error:
                print("from another task:", error, flush=True)

    threading.Thread(target=run, daemon=True).start()
    time.sleep(0.1)


def keep_task() -> None:
    _kept.append(current_task())


def use_kept() -> list[Any]:
    kept: CurrentTask = _kept[-1]
    said: list[Any] = []
    for act in (lambda: kept.progress(0.5), lambda: kept.shrink_to(cpu=1), lambda: kept.try_grow_to(cpu=2)):
        try:
            act()
        except Exception as error:
            said.append(str(error))
    return [*said, kept.cpu, kept.memory, kept.cancelled]


# -- frames ---------------------------------------------------------------------------------------


def _token() -> str:
    """What a task isn't told, and finds."""
    (line,) = (found for found in gc.get_objects() if type(found).__name__ == "Line")
    return str(line.token)


def _write(data: bytes) -> None:
    with socket.socket(fileno=os.dup(3)) as ours:
        ours.sendall(data)


def forge(frame: list[Any] | bytes) -> str:
    if isinstance(frame, list):
        words = [getattr(Word, frame[0]), *frame[1:]] if frame else []
        frame = (
            msgpack.packb([_token() if word == "mine" else word for word in words], default=str) if frame else b"\x90"
        )
    _write(frame)
    time.sleep(60)
    return "never"


def keep_token() -> None:
    _kept.append(_token())


def spoken_for(path: str) -> str:
    """Stands for a process of the task before that got away: it writes what that one would write. Once."""
    if _kept and not os.path.exists(path):
        open(path, "w").close()
        _write(msgpack.packb([Word.DONE, _kept[-1], None, b"\xa6forged", None, None, "", 0]))
        time.sleep(60)
    return "its own"


# -- what is raised -------------------------------------------------------------------------------


class Evil(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")

    __repr__ = __str__


def raises(how: str) -> None:
    if how == "surrogate":
        raise ValueError("bad file " + os.fsdecode(b"caf\xe9.txt"))
    if how == "huge":
        raise ValueError("x" * 20_000_000)
    if how == "evil":
        raise Evil
    if how == "group":
        raise ExceptionGroup("all", [ExceptionGroup("some", [ValueError(n) for n in range(50)]) for _ in range(50)])
    if how == "recursion":
        raises("recursion")
    if how == "deep":
        error = ValueError(0)
        for n in range(3000):
            outer = ValueError(n)
            outer.__cause__ = error
            error = outer
        raise error
    if how == "exit":
        sys.exit("I can't go on\udce9")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "notes":
        noted = ValueError(1)
        noted.__notes__ = [Evil(), "n" * 10**6]  # type: ignore[list-item]
        raise noted
    raise type("\udce9" * 1000, (Exception,), {})


# -- exit codes -----------------------------------------------------------------------------------


def reap_all(how: str) -> None:
    if how == "ignore":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    else:
        threading.Thread(target=_reap, daemon=True).start()


def _reap() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.001)
