# Made from ../awaiting/stepper.py by `python -m tools.twins`: change that one, and run it again.
"""Takes the steps of a client's flows (``steps.py``): all that a client or a handle does goes through ``_do`` and
``_stream``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Self, TypeVar

from rq_sched.client.connection import Connection
from rq_sched.client.doorbells import Doorbell, Doorbells
from rq_sched.client.flows import Flows
from rq_sched.client.steps import (
    Emit,
    Flow,
    Hear,
    Listen,
    ListenAlready,
    ListenOn,
    Pause,
    Run,
    TakeOver,
    advance,
    last,
    new_channel,
)
from rq_sched.errors import RqSchedError
from rq_sched.link import Ears, Link
from rq_sched.store import Store

T = TypeVar("T")


class Stepper(Connection[Link]):
    """What ``Client`` and its handles take steps with."""

    def _connect(self, url: str, store: Store) -> Link:
        return Link(url, answer_seconds=store.answer_seconds, greeting=store.check_schema)

    def _use(self, link: Link, flows: Flows) -> None:
        super()._use(link, flows)
        self._doorbells: Doorbells[Ears] = Doorbells(link.hears)

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
            bell: Doorbell[Ears] | None = None
            try:
                step = advance(flow)
                while step is not None:
                    answer: Any = None
                    try:
                        match step:
                            case Emit(value):
                                yield value
                            case Run(op, within, follows):
                                answer = self._link.run(op, within, follows)
                            case Listen(own):
                                before, bell = bell, None
                                self._put_away(before)
                                bell = self._listen(own)
                                answer = bell.channel
                            case ListenAlready():
                                bell = self._doorbells.spare()
                                answer = bell and bell.channel
                            case ListenOn(task_id) if bell is not None:
                                self._doorbells.hang(task_id, bell)
                                bell = None
                            case TakeOver(task_id):
                                bell = self._doorbells.of(task_id)
                                answer = bell is not None
                            case Hear(timeout) if bell is not None:
                                message = bell.ears.get(timeout)
                                answer = message and message[1]
                            case Pause(seconds):
                                self._pause(seconds)
                    except RqSchedError as error:
                        step = advance(flow, error=error)
                    else:
                        step = advance(flow, answer)
            finally:
                self._put_away(bell)

    def _listen(self, own: str | None) -> Doorbell[Ears]:
        """Hear a channel: this one, or one that nobody else has."""
        bell = self._doorbells.any() if own is None else None
        if bell is not None:
            return bell
        channel = own or new_channel()
        return Doorbell(channel, self._link.hear(self._store.keys.done(channel)), own is None)

    def _put_away(self, bell: Doorbell[Ears] | None) -> None:
        """Nobody listens there for now."""
        if bell is not None and not self._doorbells.rest(bell):
            self._link.stop(bell.ears)
