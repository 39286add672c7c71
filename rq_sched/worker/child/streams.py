"""The standard streams of a child, and how the log is told standard error from standard output.

Both go into one pipe, in which they keep their order; where a task asks for it, marks stand between them
(``model/output.py``). Of a command they come through two pipes of its own, and are passed on here; a function finds a
``sys.stderr`` that marks what is written to it (but not what its processes write to descriptor 2).
"""

from __future__ import annotations

import fcntl
import io
import os
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from rq_sched.model.output import ERROR, OUTPUT, stream_mark

ENCODING, ERRORS = "utf-8", "backslashreplace"
CAN_PASS_ON = hasattr(os, "waitid")
CHUNK = 16 * 1024
"""Bytes that are passed on at a time."""
LOOK_MS = 20
"""Between two looks whether a command has ended, where the system doesn't tell."""


def stream_of(descriptor: int) -> io.TextIOWrapper:
    """Written line by line, so that ``logs -f`` follows; a task that closes it doesn't close the descriptor."""
    raw = open(descriptor, "wb" if descriptor else "rb", closefd=False)  # noqa: SIM115
    return _by_line(raw)


def apart() -> io.TextIOWrapper:
    """The same for standard error, told from standard output."""
    return _by_line(io.BufferedWriter(_Apart()))


def _by_line(raw: BinaryIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(raw, encoding=ENCODING, errors=ERRORS, line_buffering=True)


class _Apart(io.RawIOBase):
    """Descriptor 2, with marks."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return ERROR

    def write(self, data: object) -> int:
        content = bytes(memoryview(data)[:CHUNK])  # type: ignore[arg-type]
        _write_all(ERROR, stream_mark(ERROR) + content + stream_mark(OUTPUT))
        return len(content)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _pass(number: int, data: bytes) -> None:
    """A piece of what a command has written to one of its streams; ours of that number leads to the log."""
    _write_all(number, stream_mark(number) + data)


def unnamed_file() -> IO[bytes]:
    """A file without a name."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("stdin"), "w+b")
    import tempfile  # here: where tasks run mostly, nobody needs it

    return tempfile.TemporaryFile()


def pass_on(process: subprocess.Popen[bytes], rate: int) -> None:
    """Pass on what a command writes, each piece behind a mark that says to which stream, until the command has ended.

    Parameters:
        process: its standard output, error, or both are pipes.
        rate: bytes a second that are passed on at most. The log keeps only the last ones, so whoever follows it would
            miss some of what comes faster; the command waits instead.
    """
    streams = {OUTPUT: process.stdout, ERROR: process.stderr}
    pipes = {stream.fileno(): number for number, stream in streams.items() if stream is not None}
    ready = select.poll()
    for pipe in pipes:
        ready.register(pipe, select.POLLIN)
    with _end_of(process.pid) as end:
        if end is not None:
            ready.register(end, select.POLLIN)
        while not _has_ended(process.pid):
            moved = 0
            for descriptor, _ in ready.poll(None if end is not None else LOOK_MS):
                if descriptor in pipes:
                    data = os.read(descriptor, CHUNK)
                    if data:
                        _pass(pipes[descriptor], data)
                    else:
                        ready.unregister(descriptor)
                    moved += len(data)
            time.sleep(moved / rate)
    for number, stream in streams.items():  # what is in there now: others that it has left behind may go on writing
        if stream is not None:
            with stream:
                for data in _rest(stream.fileno()):
                    _pass(number, data)
                    time.sleep(len(data) / rate)


@contextmanager
def _end_of(pid: int) -> Iterator[int | None]:
    """A descriptor that can be read when a process has ended; None: there is no room for it, or no such thing here."""
    try:
        end = os.pidfd_open(pid)
    except (OSError, AttributeError):
        yield None
        return
    try:
        yield end
    finally:
        os.close(end)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else has waited for it
        return True


def _rest(pipe: int) -> Iterator[bytes]:
    """What is in a pipe at present."""
    found = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, found)
    left = int.from_bytes(found, sys.byteorder)
    while left > 0 and (data := os.read(pipe, min(CHUNK, left))):
        left -= len(data)
        yield data
