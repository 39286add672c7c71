"""The network and the schedulers under the vandal: what fails fails because of what he has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.exceptions import ResponseError

from rq_sched.link.answers import translate
from rq_sched.link.scripts import Call
from tests.faults.sim.clockwork import Process
from tests.faults.sim.network import Network
from tests.faults.sim.trouble import Scheduler


class RoughNetwork(Network):
    """The network without faults of its own: what fails here fails because of what was changed."""

    def execute(self, request: Any, process: Process | None = None) -> Any:
        self.calls += 1
        command = getattr(request, "command", request)
        if not isinstance(request, Call):
            return self._server.ask(command)[0]
        script = request.script
        call = ("FCALL", script.function, 1, request.prefix, self.clock, *request.arguments[1:])
        (reply,) = self._server.ask(call)
        if isinstance(reply, Exception) and "Function not found" in str(reply):
            self._server.ask(("FUNCTION", "LOAD", script.library))
            (reply,) = self._server.ask(call)
        self._ring()
        return reply

    def _ring(self) -> None:
        try:
            super()._ring()
        except (ValueError, TypeError, AttributeError, LookupError):
            pass  # a message that can't be read is one that isn't heard

    def _answer(self, process: Process, future: Any, value: Any) -> None:
        if isinstance(value, ResponseError):  # the doorbell is no list
            self.world.at(self._latency(), lambda: future.done() or future.set_exception(translate(value)))
        else:
            super()._answer(process, future, value)


class WatchedScheduler(Scheduler):
    """A scheduler that isn't started again: it must not end."""

    def start(self) -> None:
        super().start()
        process = self.process
        assert process is not None

        def check() -> None:
            if not process.alive:
                self.world.crashed.append(self.name)

        self.world.at(0.5, check)
        self.check: Callable[[], None] = check
