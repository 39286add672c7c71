"""A coroutine on a clock that only the test moves: an hour passes in no time, and nothing depends on the machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.faults.sim.clockwork import START, Process, World


class Stepped(Process):
    """An event loop whose time jumps to what comes next; a thread takes ``thread_takes`` seconds."""

    thread_takes = 0.0

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done: asyncio.Future[Any] = self.create_future()
        self.call_later(self.thread_takes, lambda: done.set_result(func(*args)))
        return done


def play(scene: Coroutine[Any, Any, None], seconds: float = 1000.0) -> None:
    """Run it to its end.

    Raises:
        AssertionError: it hasn't ended after so many seconds of its time; whatever it, or a callback, has raised.
    """
    world = World(0)
    loop = Stepped(world, "scene")
    wrong: list[BaseException] = []
    ended: list[asyncio.Task[Any]] = []
    loop.set_exception_handler(lambda _, context: wrong.append(context.get("exception") or AssertionError(context)))
    loop.begin(scene, ended.append)
    try:
        world.run(START + seconds, lambda: bool(ended or wrong))
        for error in wrong:
            raise error
        assert ended, f"it takes more than {seconds:g} s"
        ended[0].result()
    finally:
        world.close()
