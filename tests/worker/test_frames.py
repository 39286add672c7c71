"""The socket pair of the agent and a child."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rq_sched.worker import system
from rq_sched.worker.child.process import Line
from rq_sched.worker.frames import READ, Channel, Frame, Word, child_pair, pack
from tests.support import wait_for, wait_for_async

LONG = b"x" * (3 * READ + 5)


def talk(scene: Callable[[Channel, socket.socket, list[Frame], list[str]], Any]) -> None:
    """With the agent's end as a channel, what it hears, and whether it was lost."""

    async def run() -> None:
        ours, theirs = child_pair()
        heard: list[Frame] = []
        lost: list[str] = []
        channel = Channel(asyncio.get_running_loop(), ours, heard.append, lambda: lost.append("lost"))
        try:
            await scene(channel, theirs, heard, lost)
        finally:
            channel.close()
            theirs.close()

    asyncio.run(run())


@pytest.mark.parametrize("blocking", [True, False])
def test_frames_of_any_length_arrive_whole_in_both_directions(blocking: bool) -> None:
    """Also where a task has made everything non-blocking: the child waits all the same."""

    async def scene(channel: Channel, theirs: socket.socket, heard: list[Frame], _: list[str]) -> None:
        os.set_blocking(theirs.fileno(), blocking)
        line = Line(theirs)
        line.token = "k1"
        answers = [(Word.DONE, "k1", None, LONG), (Word.DONE, "k1", None, b"short")]

        def answer() -> None:
            for said in answers:
                assert line.receive() == [Word.RUN, "k1", LONG]
                line.token = "k1"
                line.speak(said)

        child = threading.Thread(target=answer)
        child.start()
        assert channel.send((Word.RUN, "k1", LONG))
        assert channel.send((Word.RUN, "k1", LONG))
        await wait_for_async(lambda: len(heard) == 2)
        child.join()
        assert heard == [list(said) for said in answers]
        assert os.get_blocking(theirs.fileno())

    talk(scene)


@pytest.mark.skipif(not system.LINUX, reason="a pair of streams wakes both ends")
def test_a_child_is_woken_once_a_task() -> None:
    """Not a second time when its answer is read."""
    tasks = 30
    ours, theirs = child_pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        while theirs.recv(READ):
            theirs.send(b"done")
        os._exit(0)
    theirs.close()

    def waits() -> int | None:
        """How often it has gone to sleep, once it is asleep."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(status["voluntary_ctxt_switches"]) if status["State"].split()[0] == "S" else None

    try:
        before = wait_for(waits, 10)
        for _ in range(tasks):
            ours.send(b"run")
            wait_for(waits, 10)
            assert ours.recv(READ) == b"done"
        after = wait_for(waits, 10)
    finally:
        ours.close()
        os.waitpid(pid, 0)
    assert before is not None
    assert after == before + tasks


@pytest.mark.skipif(not system.LINUX, reason="only Linux tells what wasn't read")
def test_what_a_child_has_still_said_is_heard_though_it_left_an_order_unread() -> None:
    async def scene(channel: Channel, theirs: socket.socket, heard: list[Frame], lost: list[str]) -> None:
        channel.send((Word.SIZE, 1, 64, False))
        theirs.send(pack((Word.PROGRESS, "k1", 0.5)))
        theirs.send(pack((Word.DONE, "k1", None, b"", None, None, "", 0)))
        theirs.close()
        await wait_for_async(lambda: lost)
        assert [frame[0] for frame in heard] == [Word.PROGRESS, Word.DONE]
        assert channel.unread
        assert not channel.send((Word.SIZE, 1, 64, False))

    talk(scene)
