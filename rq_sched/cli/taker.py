"""Takes the steps of a client's flows for a command, over the command's connection."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from rq_sched.cli.failure import print_warning
from rq_sched.client.blocking.stepper import Stepper
from rq_sched.client.flows import Flows

if TYPE_CHECKING:
    from rq_sched.client.steps import Flow
    from rq_sched.link import Link
    from rq_sched.store import Store

T = TypeVar("T")


class Taker(Stepper):
    """Takes steps. What flows log, such as that they wait for Redis, becomes warnings of the command."""

    def __init__(self, link: Link, store: Store, *, as_json: bool) -> None:
        self.flows = Flows(store)
        self._use(link, self.flows)
        logging.getLogger("rq_sched.client.flows").handlers = [_Warnings(as_json)]

    def do(self, flow: Flow[T]) -> T:
        """Take the steps of a flow; what it returns."""
        return self._do(flow)

    def stream(self, flow: Flow[None]) -> Iterator[Any]:
        """Take the steps of a flow; yields what it emits."""
        return self._stream(flow)


class _Warnings(logging.Handler):
    """What a flow logs, as warnings of the command."""

    def __init__(self, as_json: bool) -> None:
        super().__init__(logging.WARNING)
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        print_warning(record.getMessage(), as_json=self._as_json)
