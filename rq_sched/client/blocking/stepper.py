# Made from ../awaiting/stepper.py by `python -m tools.twins`: change that one, and run it again.
"""Takes the steps of a client's flows (``steps.py``): all that a client or a handle does goes through ``_do`` and
``_stream``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, Self, TypeVar

from rq_sched.client.connection import Connection
from rq_sched.client.steps import Emit, Flow, Hear, Listen, Pause, Run, advance, last
from rq_sched.errors import RqSchedError
from rq_sched.link import Ears, Link
from rq_sched.store import Store

T = TypeVar("T")


class Stepper(Connection[Link]):
    """What ``Client`` and its handles take steps with."""

    def _connect(self, url: str, store: Store) -> Link:
        return Link(url, answer_seconds=store.answer_seconds, greeting=store.check_schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Tasks go on."""
        self._link.close()

    def _do(self, flow: Flow[T]) -> T:
        """Take the steps of a flow; what it returns."""
        answer: Any = None
        for value in self._stream(last(flow)):
            answer = value
        return answer  # type: ignore[no-any-return]

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def _stream(self, flow: Flow[None]) -> Iterator[Any]:
        """Take the steps of a flow; yields what it emits."""
        with closing(flow):
            with ExitStack() as listening:
                ears: Ears | None = None
                step = advance(flow)
                while step is not None:
                    answer: Any = None
                    try:
                        match step:
                            case Emit(value):
                                yield value
                            case Run(op, within, follows):
                                answer = self._link.run(op, within, follows)
                            case Listen(channel):
                                listening.close()
                                ears = listening.enter_context(self._link.listen(channel))
                            case Hear(timeout) if ears is not None:
                                message = ears.get(timeout)
                                answer = message and message[1]
                            case Pause(seconds):
                                self._pause(seconds)
                    except RqSchedError as error:
                        step = advance(flow, error=error)
                    else:
                        step = advance(flow, answer)
