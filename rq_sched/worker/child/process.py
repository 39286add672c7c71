"""A warm child: a process that runs one task after another, and nothing else.

It is forked from the parent, so what the parent has imported is there at once. It leads a session and a process group
of its own, in which the processes of its tasks stay; those that leave it stay below its subreaper (``subreaper.py``).
It dies with that, and ends when the agent closes its socket.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
import traceback
import types
from typing import Any, NoReturn

from rq_sched.errors import NotInTask
from rq_sched.worker import system
from rq_sched.worker.allow import Allow
from rq_sched.worker.child import able
from rq_sched.worker.child.baseline import Baseline
from rq_sched.worker.child.environment import Environment
from rq_sched.worker.child.runner import Runner
from rq_sched.worker.child.single import PlainEnvironment, Single
from rq_sched.worker.child.status import Descriptors
from rq_sched.worker.child.streams import ENCODING, ERRORS, stream_of
from rq_sched.worker.child.surroundings import Surroundings
from rq_sched.worker.frames import MOST, READ, Frame, Frames, Word, pack
from rq_sched.worker.reach import Reach


class Line:
    """The child's end of the socket pair; reading waits."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = Frames(limit=MOST)
        self._received: collections.deque[Frame] = collections.deque()
        self._lock = threading.Lock()  # a task's threads may report progress
        self.token = ""
        """Of the attempt that runs."""

    def speak(self, frame: tuple[Any, ...]) -> None:
        """Send a frame of the attempt that runs.

        Raises:
            NotInTask: it is of another one: a thread, or an object, has outlived its task.
        """
        with self._lock:
            if frame[1] != self.token:
                raise NotInTask("this task has ended")
            if frame[0] == Word.DONE:
                self.token = ""
            data = pack(frame)
            while data:
                try:
                    data = data[self._sock.send(data[:READ]) :]
                except BlockingIOError:
                    self._sock.setblocking(True)  # the task has changed that

    def receive(self, wait: bool = True) -> Frame | None:
        """The next frame. None: none has come yet (only without ``wait``).

        Raises:
            EOFError: the agent has closed it.
        """
        while not self._received:
            try:
                data = self._sock.recv(READ, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                if not wait:
                    return None
                self._sock.setblocking(True)  # the task has changed that
                continue
            if not data:
                raise EOFError
            self._received.extend(self._frames.feed(data))
        return self._received.popleft()


def main(
    sock: socket.socket,
    output: int,
    allow: Allow,
    folder: str,
    parent: int,
    reach: Reach | None = None,
    node_id: str = "",
) -> NoReturn:
    """Become a child, in a process just forked.

    Parameters:
        sock: our end of the socket pair with the agent.
        output: the pipe for what tasks print.
        folder: where tasks run, and where functions are looked for first.
        parent: the process that forked us, our subreaper.
        reach: what requests may name; None: the defaults.
    """
    try:
        line = Line(_settle(sock, output, parent))
        if why := able.cannot_enter(folder):
            line.speak((Word.NOT_BEGUN, "", why))
            os._exit(0)
        _look_first_in(folder)
        descriptors = Descriptors() if system.LINUX else None
        environment = Environment() if descriptors else PlainEnvironment()
        surroundings = Surroundings(reach or Reach(folder), node_id, environment)
        runner = Runner(allow, line, environment, surroundings, descriptors.count if descriptors else int)
        os.register_at_fork(before=_flush, after_in_child=_be_a_plain_process)
        signal.signal(signal.SIGTERM, runner.stop)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        baseline = Baseline(environment, descriptors) if descriptors else Single()
        _serve(line, runner, baseline, folder)
    except (EOFError, OSError):
        os._exit(0)  # the agent wants no more of us, or is gone
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def _serve(line: Line, runner: Runner, baseline: Baseline | Single, folder: str) -> None:
    streams: tuple[Any, ...] = sys.stdin, sys.stdout, sys.stderr
    while True:
        frame = line.receive()
        if frame is not None and frame[0] == Word.LOOK:
            line.speak((Word.LOOKED, "", able.why_unable(folder, thorough=True)))
        if frame is None or frame[0] != Word.RUN:
            continue
        token = line.token = frame[1]
        outcome = able.cannot_enter(folder) or runner.run(frame)
        sys.stdin, sys.stdout, sys.stderr = streams = tuple(map(_flushed, (sys.stdin, sys.stdout, sys.stderr), streams))
        baseline.pinned = frame[10] is not None
        spent = baseline.restore(runner.opened)
        if not isinstance(outcome, str) and outcome.reason is not None and frame[3] <= able.UNCHARGED and not spent:
            outcome = able.why_unable(folder) or outcome  # with our own limits and rights again, not with the task's
        if isinstance(outcome, str):
            line.speak((Word.NOT_BEGUN, token, outcome))
            return
        line.speak((Word.DONE, token, *outcome, spent, baseline.kept))
        if None in streams:
            sys.stdin, sys.stdout, sys.stderr = streams = tuple(
                stream_of(number) if stream is None else stream for number, stream in enumerate(streams)
            )


def _flush() -> None:
    """A task is about to fork: what isn't written yet would be written twice."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _be_a_plain_process() -> None:
    """A task has forked (multiprocessing does): SIGTERM just ends the new process."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _settle(sock: socket.socket, output: int, parent: int) -> socket.socket:
    """Leave everything of the parent's behind: session, signals, descriptors, log."""
    os.setsid()
    system.keep_private(False)  # the agent measures us
    system.die_with(parent)
    system.name_process("rqs-child")
    system.first_to_go()
    system.yield_to_agent()
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) or number in (signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, source in enumerate(_out_of_the_way(os.open(os.devnull, os.O_RDONLY), output, output, sock.detach())):
        os.dup2(source, target, inheritable=target < 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    # What multiprocessing starts by spawn or forkserver runs the main module again: ours would be a second worker.
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.stdin, sys.stdout, sys.stderr = map(stream_of, range(3))
    _line_buffer_c()
    logging.getLogger().handlers.clear()  # what a task logs is its own affair
    logging.getLogger().setLevel(logging.WARNING)
    return socket.socket(fileno=3)


def _look_first_in(folder: str) -> None:
    """Functions are looked for there first."""
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)


def _out_of_the_way(*descriptors: int) -> list[int]:
    """The same ones under numbers that none of them is to get."""
    return [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in descriptors]


def _flushed(now: Any, ours: Any) -> Any:
    """The stream for the next task: ours, whatever this one has put in its place. None: it has changed ours."""
    if now is not ours:
        with contextlib.suppress(Exception):
            now.flush()
    try:
        ours.flush()
        if ours.errors == ERRORS and ours.encoding == ENCODING and ours.line_buffering and not ours.__dict__:
            return ours
    except (ValueError, OSError):
        pass  # closed, or what it leads to: what is still in it belongs to this task
    return None


def _line_buffer_c() -> None:
    """The same for what libraries in C print."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        libc = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(libc, "stdout" if system.LINUX else "__stdoutp")
        libc.setvbuf(stdout, None, 1, 0)
