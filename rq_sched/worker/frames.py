"""Frames: what parent, agent and children say to each other over socket pairs.

A frame is a list packed with msgpack: its first element, a small number, says what it is, the rest are its fields.
msgpack knows where a value ends, so frames need no length in front, and any number of them may come in one read.

=================  =================  ============================================================================
from → to          frame              fields
=================  =================  ============================================================================
agent → parent     ``FORK``           number: fork the child with this number
agent → parent     ``SIGNAL``         number, signal: signal the child's process group (SIGKILL: and what left it)
agent → parent     ``INCARNATION``    id: I am about to register under it; empty: Redis knows of none any more
agent → parent     ``ALIVE``          I don't hang; how I am: ``ok``, ``waiting``, ``stuck``; about it
agent → parent     ``REFUSED``        code, message: I can't start, and trying again wouldn't help
parent → agent     ``FORKED``         number, pid, pid of its subreaper, with two descriptors: our end of the socket
                                      pair, and the pipe with the child's output
parent → agent     ``EXITED``         number, status (as of waitpid), why: all processes of the child are gone; ``why``:
                                      it never came to be
parent → agent     ``CLOSE``          at once (bool): end, in order or at once
parent → agent     ``RELOAD``         there is new code: no child is used again after its present task
agent → child      ``RUN``            token, task id, attempt, function, arguments (where results of others stand among
                                      them: a list of them and of these, by id), cpu, memory, max cpu, max memory, the
                                      cores to run on (none: any), the resources that it holds (text)
agent → child      ``SIZE``           cpu, memory, answer: the allocation now; answer (bool): to RESIZE, else it has
                                      changed from outside
agent → child      ``LOOK``           nothing: look whether a task could begin here
child → agent      ``LOOKED``         empty token, why not; empty: it could
child → agent      ``DONE``           token, reason (none: completed), result, error, exit code, spent: why this child
                                      can't be as it was before the task; empty: it is; kept: MB that tasks have left
                                      in it
child → agent      ``NOT_BEGUN``      token (empty: no order has come yet), why: the task hasn't begun, and I end; no
                                      ``why``: SIGTERM came, or its code has changed since I imported it; else it is
                                      the node's fault, even if it began
child → agent      ``PROGRESS``       token, fraction
child → agent      ``RESIZE``         token, cpu, memory: absolute; none leaves one as it is
=================  =================  ============================================================================

What a child says carries the token of its order: a process or a thread that has outlived its task can't speak for the
next one. Tasks can write to the socket, too, so the agent believes nothing that isn't sound (``attempt.sound``).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgpack

if TYPE_CHECKING:
    import asyncio

    from rq_sched.worker.switchboard import Switchboard

READ = 64 * 1024
"""Bytes that one read takes at most, and so the most that is sent at a time: of a longer packet the rest is lost."""
LIMIT = 4 * 1024 * 1024
"""Bytes of frames that wait to be taken apart: more than any frame of ours has that a child may send."""
MOST = 32 * 1024 * 1024
"""The same of those that the agent may send."""
FIELDS = 16
"""Elements that a list may have where the sender isn't trusted: room is made for as many as a list claims to have."""

Frame = list[Any]


class Word:
    """The first element of a frame. (Members of an enum would take several times as long to name, compare and pack.)"""

    FORK = 1
    SIGNAL = 2
    INCARNATION = 3
    ALIVE = 4
    REFUSED = 5
    FORKED = 6
    EXITED = 7
    CLOSE = 8
    RUN = 9
    SIZE = 10
    DONE = 11
    PROGRESS = 12
    RESIZE = 13
    NOT_BEGUN = 14
    LOOK = 15
    LOOKED = 16
    RELOAD = 17


class BadFrame(Exception):
    """What came isn't a frame: someone else wrote to the socket."""


def child_pair() -> tuple[socket.socket, socket.socket]:
    """The socket pair of the agent and a child. Who waits there for something to read is woken when there is something;
    at a pair of streams (what macOS has) also when what it has sent was read: twice a task.

    Raises:
        OSError: there is no room for it.
    """
    kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM
    return socket.socketpair(socket.AF_UNIX, kind)


pack: Callable[[Frame | tuple[Any, ...]], bytes] = msgpack.Packer(autoreset=True).pack


class Frames:
    """Takes what was read apart.

    Parameters:
        longest: elements that a list may have; -1: as many as the bytes could hold.
        limit: bytes that may wait.
    """

    def __init__(self, longest: int = -1, limit: int = LIMIT) -> None:
        self._longest = longest
        self._unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=limit, max_array_len=longest)
        self._fed = 0
        self._whole = True  # no piece of a frame waits for the rest

    def feed(self, data: bytes) -> Iterable[Frame]:
        """The frames that are complete with ``data``.

        Raises:
            BadFrame: at once, or from the iteration.
        """
        if self._whole:  # mostly it is one frame: this takes less than half the time
            try:
                frame = msgpack.unpackb(data, strict_map_key=False, max_array_len=self._longest)
            except (ValueError, TypeError, msgpack.UnpackException):
                pass  # more than one, not all of one, or none: found out below
            else:
                return (_checked(frame),)
        return self._take_apart(data)

    def _take_apart(self, data: bytes) -> Iterator[Frame]:
        try:
            self._unpacker.feed(data)
            self._fed += len(data)
            self._whole = False
            for frame in self._unpacker:
                self._whole = self._unpacker.tell() == self._fed  # at the end tell() would count a begun frame, too
                yield _checked(frame)
        except (ValueError, TypeError, msgpack.UnpackException, msgpack.BufferFull) as error:
            raise BadFrame(str(error)) from None


def _checked(frame: object) -> Frame:
    if type(frame) is not list or not frame:
        raise BadFrame(f"not a frame: {frame!r:.80}")
    return frame


class Channel:
    """The agent's end of a socket pair, served by its event loop with plain callbacks.

    Parameters:
        on_frame: called with each frame.
        lost: called once, when the other end is closed or talks nonsense.
        board: who says that something has come; None: the event loop.
        longest: see ``Frames``.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        on_frame: Callable[[Frame], None],
        lost: Callable[[], None],
        board: Switchboard | None = None,
        longest: int = -1,
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._board = board
        self._sock = sock
        self._on_frame = on_frame
        self._lost = lost
        self._frames = Frames(longest)
        self._unsent = bytearray()
        self._descriptor = sock.fileno()
        self.first = False
        """Whether the frame that is being heard is the first one of its read."""
        self.unread = False
        """Whether the other end was closed before it had read everything that we have sent (Linux)."""
        if board is None:
            loop.add_reader(self._descriptor, self._read)
        else:
            board.add(self._descriptor, self._read)

    def send(self, frame: tuple[Any, ...]) -> bool:
        """Send a frame; what the other end doesn't take now is sent when it does. False: there is no other end."""
        data = pack(frame)
        if not self._unsent:
            try:
                sent = self._sock.send(data[:READ])
            except BlockingIOError:
                sent = 0
            except OSError:
                return False  # reading notices it, too
            if sent == len(data):
                return True
            data = data[sent:]
            self._loop.add_writer(self._descriptor, self._write)
        self._unsent += data
        return True

    def _write(self) -> None:
        try:
            del self._unsent[: self._sock.send(self._unsent[:READ])]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()
        if not self._unsent:
            self._loop.remove_writer(self._descriptor)

    def hear_out(self) -> None:
        """The other end's process is gone: hear what it has still said."""
        while self._descriptor >= 0 and self._read():
            pass

    def _read(self) -> bool:
        """Hear what has come; whether there was something."""
        try:
            data = self._receive()
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        try:
            if not data:
                raise BadFrame("closed")
            self.first = True
            for frame in self._frames.feed(data):
                self._on_frame(frame)
                self.first = False
        except BadFrame:
            if self._descriptor >= 0:
                self.close()
                self._lost()
            return False
        return True

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(READ)
        except ConnectionResetError:  # said once, perhaps ahead of what the other end has still sent
            self.unread = True
            return self._sock.recv(READ)

    def close(self) -> None:
        """Close it; harmless when it is closed already."""
        if self._descriptor >= 0:
            if self._board is None:
                self._loop.remove_reader(self._descriptor)
            else:
                self._board.remove(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            self._descriptor = -1
            self._sock.close()


class ParentChannel(Channel):
    """The agent's end of the socket pair with its parent: descriptors come with some frames."""

    descriptors: list[int]
    """Those that came and weren't taken yet, in the order of their frames; -1: there was no room for it here."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        on_frame: Callable[[Frame], None],
        lost: Callable[[], None],
    ) -> None:
        self.descriptors = []
        super().__init__(loop, sock, on_frame, lost)

    def _receive(self) -> bytes:
        data, descriptors, flags, _ = socket.recv_fds(self._sock, READ, 32)
        if flags & socket.MSG_CTRUNC:  # this process may have no more: what came is of no use without the rest
            for descriptor in descriptors:
                os.close(descriptor)
            descriptors = [-1, -1]
        self.descriptors += descriptors
        return data
