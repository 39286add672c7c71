"""A node that is played: it takes orders as an agent does, and runs each task here and now, one at a time.

Only ``testing`` uses it. It keeps no heartbeat, as time doesn't pass by itself there.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import os
import subprocess
import threading
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rq_sched.context import CurrentTask, set_current
from rq_sched.errors import Unsendable
from rq_sched.link import Link
from rq_sched.model.arrays import tell_index
from rq_sched.model.held import read_held
from rq_sched.model.held import variables as told
from rq_sched.model.offers import NONE, Offers, offered
from rq_sched.model.orders import Order, Start, Stop
from rq_sched.model.references import references
from rq_sched.model.resources import Resources
from rq_sched.model.states import Reason
from rq_sched.model.surroundings import surroundings_in
from rq_sched.model.values import pack, unpack_arguments
from rq_sched.store import Store
from rq_sched.store.answers import EndReport

INCARNATION = "inline"
FOREVER = 10.0**6
"""Seconds that a heartbeat lasts which nobody renews."""


class _NotFound(Exception):
    """The function isn't there."""


class InlineNode:
    """One node, and what it runs.

    Parameters:
        link, store: how it reaches its namespace.
        node_id: its name.
        total: what it offers.
        labels: what it carries.
        offers: what it has beside CPU and memory.
    """

    def __init__(
        self,
        link: Link,
        store: Store,
        node_id: str,
        total: Resources,
        labels: Sequence[str] = (),
        offers: Offers = NONE,
    ) -> None:
        self._link = link
        self._store = store
        self._who = (node_id, INCARNATION)
        self._orders: deque[Order] = deque()
        self._seen = 0  # the number of the last order that came
        self._acked = 0  # the number of the last order that was worked off
        self._running: list[CurrentTask] = []  # more than one where a task waits for another
        link.run(
            store.node_register(
                *self._who, total, labels=labels, resources=offered(offers), ttl=FOREVER, host="testing"
            )
        )

    def run_next(self) -> bool:
        """Work off one order; False if there is none."""
        self._take(self._link.run(self._store.node_poll(*self._who, acked=self._acked)))
        while self._orders:
            order = self._orders.popleft()
            self._acked = max(self._acked, order.number)
            report = self._work_off(order)
            if report is not None:
                reports = self._store.task_finish(*self._who, acked=self._acked, reports=[report])
                self._take(self._link.run(reports).orders)
                return True
        return False

    def _take(self, orders: list[Order]) -> None:
        """Orders can come twice: with the reply to a report, and when asked for."""
        for order in orders:
            if order.number > self._seen:
                self._seen = order.number
                self._orders.append(order)

    def _work_off(self, order: Order) -> EndReport | None:
        if isinstance(order, Stop):
            return EndReport(order.token, order.task_id, "stopped")
        stopped = {later.token for later in self._orders if isinstance(later, Stop)}
        if isinstance(order, Start) and order.token not in stopped:
            return self._attempt(order)
        return None

    def _attempt(self, order: Start) -> EndReport:
        report = EndReport(order.token, order.task_id, "completed", ran=0.0)
        self._link.run(self._store.task_start(*self._who, [order.token]))
        packed = self._link.run(self._store.payload(order.task_id)) if order.payload_bytes else order.arguments
        results, why = self._results(packed) if order.uses else ({}, "")
        if why:
            _fail(report, Reason.ERROR, why)
            return report
        args, kwargs, *more = unpack_arguments(packed, results) if packed else ([], {})
        try:
            with self._as_current(order, surroundings_in(more).get("env", {})):
                if order.function.startswith("exec:"):
                    report.exit_code = _run_command(order.function.removeprefix("exec:"), args)
                    report.result = pack(report.exit_code, "the result")
                else:
                    value = _call(_find(order.function), args, kwargs)
                    try:
                        report.result = pack(value, "the result")
                    except Unsendable as error:
                        _fail(report, Reason.UNSENDABLE, f"{type(error).__name__}: {error}")
        except _NotFound as error:
            _fail(report, Reason.NOT_FOUND, str(error))
        except (Exception, SystemExit) as error:
            _fail(report, Reason.ERROR, _describe(error))
        if report.exit_code:
            _fail(report, Reason.EXIT_CODE, f"ended with exit code {report.exit_code}")
        return report

    def _results(self, packed: bytes) -> tuple[dict[str, bytes], str]:
        """The results that stand among these arguments; or why they can't."""
        args, kwargs, *_ = unpack_arguments(packed)
        used = dict.fromkeys(one.id for one in references(args, kwargs))
        return self._link.run(self._store.results(list(used)))

    @contextmanager
    def _as_current(self, order: Start, variables: Mapping[str, str]) -> Iterator[None]:
        """What ``current_task()`` and the environment tell the task; afterwards as before, as tasks may be nested."""
        held = read_held(order.held)
        task = CurrentTask(order.task_id, order.attempt, order.allocation, self._progress(order), self._resize(order),
                           resources=held)  # fmt: skip
        environment = {
            "RQ_SCHED_TASK_ID": order.task_id,
            "RQ_SCHED_ATTEMPT": str(order.attempt),
            "RQ_SCHED_CPUS": str(order.allocation.cpu),
            "RQ_SCHED_MEMORY_MB": str(order.allocation.memory),
        }
        self._running.append(task)
        set_current(task)
        try:
            with patch.dict(os.environ, {**variables, **told(held), **environment}):
                tell_index(os.environ, order.task_id)  # here, where that of an element around it is taken away
                yield
        finally:
            self._running.pop()
            set_current(self._running[-1] if self._running else None)

    def _progress(self, order: Start) -> Callable[[float], None]:
        def progress(fraction: float) -> None:
            self._link.run(self._store.task_progress(*self._who, {order.token: fraction}))

        return progress

    def _resize(self, order: Start) -> Callable[[int | None, int | None], Resources]:
        number = 0

        def resize(cpu: int | None, memory: int | None) -> Resources:
            nonlocal number
            number += 1
            answer = self._link.run(
                self._store.task_resize(*self._who, order.token, number=number, cpu=cpu, memory=memory)
            )
            return answer.allocation

        return resize


def _fail(report: EndReport, reason: Reason, text: str) -> None:
    report.outcome, report.reason, report.error, report.result = "failed", reason, text, None


def _find(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and something that it needs is not
        raise _NotFound(f"no module {error.name}") from None
    except AttributeError:
        raise _NotFound(f"module {module} has no {name}") from None
    if not callable(found):
        raise _NotFound(f"{target} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def _call(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    value = function(*args, **kwargs)
    return _await(value) if inspect.iscoroutine(value) else value


def _await(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a loop of its own, also where the test is inside one: in a thread."""
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(asyncio.run(coroutine))
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="rq-sched-inline")
    thread.start()
    thread.join()
    return done.result()


def _run_command(path: str, args: list[Any]) -> int:
    try:
        return subprocess.run(
            [path, *(word if isinstance(word, (str, bytes)) else str(word) for word in args)],
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode
    except FileNotFoundError:
        raise _NotFound(f"no command {path}") from None


def _describe(error: BaseException) -> str:
    """The traceback without the frames of this file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()
