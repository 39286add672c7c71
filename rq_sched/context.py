"""What a task knows of itself while it runs: ``current_task()``."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from rq_sched.errors import InvalidValue, NotInTask
from rq_sched.model.arrays import element_of
from rq_sched.model.held import NOTHING, Held
from rq_sched.model.resources import Resources, parse_cpu, parse_memory

PROGRESS_EVERY = 0.05
"""Seconds between two reports of progress, unless it moved by ``PROGRESS_STEP``."""
PROGRESS_STEP = 0.01


class StopRequested(BaseException):
    """Raised in the main thread of a plain function that is told to stop. Clean up, and let it pass."""


def __getattr__(name: str) -> Any:
    if name == "TaskCancelled":
        warnings.warn(
            "rq_sched.context.TaskCancelled is StopRequested now (rq_sched.errors.TaskCancelled is what waiting for a "
            "cancelled task raises)",
            DeprecationWarning,
            stacklevel=2,
        )
        return StopRequested
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class CurrentTask:
    """The task that runs in this process. All methods may be called from any thread.

    >>> me = current_task()  # doctest: +SKIP
    >>> me.shrink_to(memory="512M")  # doctest: +SKIP
    """

    def __init__(
        self,
        task_id: str,
        attempt: int,
        allocation: Resources,
        report: Callable[[float], None],
        resize: Callable[[int | None, int | None], Resources],
        refresh: Callable[[], Resources | None] = lambda: None,
        pid: int | None = None,
        resources: Mapping[str, Held] = NOTHING,
    ) -> None:
        self._id = task_id
        self._attempt = attempt
        self._allocation = allocation
        self._report = report
        self._resize = resize
        self._refresh = refresh
        self._pid = pid or os.getpid()
        self._resources = resources
        self._lock = threading.Lock()
        self._reported = (-1.0, 0.0)  # fraction, when
        self._cancelled = False
        self._cooperative = False
        self._over = False

    @property
    def id(self) -> str:
        """The task's id."""
        return self._id

    @property
    def index(self) -> int | None:
        """Its index, where it is an element of an array; None for any other task."""
        element = element_of(self._id)
        return None if element is None else element[1]

    @property
    def attempt(self) -> int:
        """Which attempt this is, counted from 1."""
        return self._attempt

    @property
    def cpu(self) -> int:
        """Cores that are allocated to it now. It may change while the task runs: a task with a maximum grows into what
        is idle on its node, and gives it back when another wants it."""
        return self._now().cpu

    @property
    def memory(self) -> int:
        """MB that are allocated to it now."""
        return self._now().memory

    @property
    def resources(self) -> Mapping[str, Held]:
        """What it holds of its node's resources, by name: how much, and which indexes. Only it holds them.

        >>> current_task().resources["gpu"].indexes  # doctest: +SKIP
        ('0', '2')
        """
        return self._resources

    @property
    def cancelled(self) -> bool:
        """Whether it was told to stop. A task that has once looked here is trusted to look again and to end by itself:
        it isn't interrupted, only killed when the grace is over."""
        self._cooperative = True
        return self._cancelled

    def shrink_to(self, cpu: int | None = None, memory: int | str | None = None) -> None:
        """Give back what isn't needed any more. Others get it at once. After this the task is killed if it uses more
        memory than it kept. (While Redis can't be reached it keeps all; ``cpu`` and ``memory`` tell.)

        Parameters:
            cpu: cores to keep.
            memory: MB (or such as ``"1G"``) to keep. None, or more than it has: unchanged.

        Raises:
            InvalidResources: below 1, or not a size.
            NotInTask: called from a process that the task has started.

        >>> current_task().shrink_to(cpu=1, memory="512M")  # doctest: +SKIP
        """
        self._check_process()
        with self._lock:
            now = self._refreshed()
            keep_cpu = None if cpu is None else min(parse_cpu(cpu), now.cpu)
            keep_memory = None if memory is None else min(parse_memory(memory), now.memory)
            self._ask(keep_cpu, keep_memory)

    def try_grow_to(self, cpu: int | None = None, memory: int | str | None = None) -> bool:
        """Ask for more, up to the task's maximum: it gets all of it now, or nothing. It never waits.

        Parameters:
            cpu: cores to have in all.
            memory: MB (or such as ``"4G"``) to have in all. None, or less than it has: unchanged.

        Returns:
            Whether it has that much now.

        Raises:
            InvalidResources: below 1, or not a size.
            NotInTask: called from a process that the task has started.

        >>> threads = 8 if current_task().try_grow_to(cpu=8) else current_task().cpu  # doctest: +SKIP
        """
        self._check_process()
        with self._lock:
            now = self._refreshed()
            want_cpu = None if cpu is None else max(parse_cpu(cpu), now.cpu)
            want_memory = None if memory is None else max(parse_memory(memory), now.memory)
            self._ask(want_cpu, want_memory)
            now = self._allocation
            return now.cpu >= (want_cpu or 0) and now.memory >= (want_memory or 0)

    def release(self, cpu: int | None = None, memory: int | str | None = None) -> None:
        """The old name of ``shrink_to``."""
        warnings.warn("release(…) is shrink_to(…) now: it says what to keep", DeprecationWarning, stacklevel=2)
        self.shrink_to(cpu, memory)

    def try_grow(self, cpu: int | None = None, memory: int | str | None = None) -> bool:
        """The old name of ``try_grow_to``."""
        warnings.warn("try_grow(…) is try_grow_to(…) now: it says what to have", DeprecationWarning, stacklevel=2)
        return self.try_grow_to(cpu, memory)

    def progress(self, fraction: float) -> None:
        """Say how far it is; ``status`` shows it. Cheap enough to be called often.

        Parameters:
            fraction: from 0 to 1.

        Raises:
            InvalidValue: it isn't.
        """
        if not 0 <= fraction <= 1:  # also not a number
            raise InvalidValue(f"progress must be between 0 and 1, not {fraction!r}")
        self._check_process()
        now = time.monotonic()
        said, when = self._reported
        if now - when >= PROGRESS_EVERY or abs(fraction - said) >= PROGRESS_STEP:
            self._reported = (fraction, now)
            self._report(float(fraction))

    def _ask(self, cpu: int | None, memory: int | None) -> None:
        if cpu not in (None, self._allocation.cpu) or memory not in (None, self._allocation.memory):
            self._allocation = self._resize(cpu, memory)

    def _now(self) -> Resources:
        """The allocation, with changes that have come meanwhile; while another thread asks for one, the last known."""
        if not self._over and os.getpid() == self._pid and self._lock.acquire(blocking=False):
            try:
                return self._refreshed()
            finally:
                self._lock.release()
        return self._allocation

    def _refreshed(self) -> Resources:
        self._allocation = self._refresh() or self._allocation
        return self._allocation

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise NotInTask("only the task's own process can do this, not one that it has started")
        if self._over:
            raise NotInTask("this task has ended")

    def _tell_to_stop(self) -> bool:
        """Whether it is enough to tell it so."""
        self._cancelled = True
        return self._cooperative


def _nobody() -> CurrentTask | None:
    return None


_find = _nobody


def current_task() -> CurrentTask:
    """The task that runs here.

    Raises:
        NotInTask: none does; this code wasn't started by a worker.

    >>> current_task()
    Traceback (most recent call last):
    rq_sched.errors.NotInTask: no task runs here: current_task() works inside a function that a worker runs
    """
    task = _find()
    if task is None:
        raise NotInTask("no task runs here: current_task() works inside a function that a worker runs")
    return task


def set_current(task: CurrentTask | None) -> None:
    """For those who run tasks: what ``current_task()`` answers from now on."""
    find_current(lambda: task)


def find_current(find: Callable[[], CurrentTask | None]) -> None:
    """The same, where it is made when it is asked for: ``find`` is called by each ``current_task()``, in any thread."""
    global _find
    _find = find
