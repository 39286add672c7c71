"""``current_task()``, without a worker."""

from __future__ import annotations

import math
import os

import pytest

from rq_sched import context, current_task
from rq_sched.context import CurrentTask, set_current
from rq_sched.errors import InvalidResources, InvalidValue, NotInTask
from rq_sched.model.resources import Resources


class Agent:
    """Plays the other side: knows a maximum, and what was said."""

    def __init__(self) -> None:
        self.allocation = Resources(4, 1024)
        self.asked: list[tuple[int | None, int | None]] = []
        self.progress: list[float] = []

    def resize(self, cpu: int | None, memory: int | None) -> Resources:
        self.asked.append((cpu, memory))
        wanted = Resources(cpu or self.allocation.cpu, memory or self.allocation.memory)
        if wanted.fits(Resources(8, 2048)):
            self.allocation = wanted
        return self.allocation

    def task(self) -> CurrentTask:
        return CurrentTask("t1", 2, self.allocation, self.progress.append, self.resize)


def test_outside_of_a_task() -> None:
    with pytest.raises(NotInTask, match="no task runs here"):
        current_task()


def test_inside_of_one() -> None:
    me = Agent().task()
    set_current(me)
    try:
        assert current_task() is me
        assert (me.id, me.attempt, me.cpu, me.memory) == ("t1", 2, 4, 1024)
    finally:
        set_current(None)


def test_amounts_are_what_it_has_afterwards() -> None:
    """So the same call twice is the same as once."""
    agent = Agent()
    me = agent.task()
    me.shrink_to(cpu=2)
    me.shrink_to(cpu=2)
    me.shrink_to(cpu=3)  # never more than it has
    assert (me.cpu, me.memory) == (2, 1024)
    assert me.try_grow_to(cpu=6, memory="2G")
    assert me.try_grow_to(cpu=6)
    assert me.try_grow_to(cpu=1)  # it has that
    assert not me.try_grow_to(cpu=9)
    assert not me.try_grow_to(cpu=7, memory=4096)  # all or nothing
    assert (me.cpu, me.memory) == (6, 2048)
    assert agent.asked == [(2, None), (6, 2048), (9, None), (7, 4096)]


@pytest.mark.parametrize("amount", [0, -1, 1.5, "much", True])
def test_what_is_no_amount(amount: object) -> None:
    with pytest.raises(InvalidResources):
        Agent().task().shrink_to(cpu=amount)  # type: ignore[arg-type]
    with pytest.raises(InvalidResources):
        Agent().task().try_grow_to(cpu=amount)  # type: ignore[arg-type]


def test_progress_is_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    agent = Agent()
    me = agent.task()
    for n in range(10_001):
        me.progress(n / 10_000)
    assert 90 <= len(agent.progress) <= 110
    me.progress(1)
    assert agent.progress[-1] >= 0.99
    now += 2 * context.PROGRESS_EVERY
    me.progress(1)
    assert agent.progress[-1] == 1.0


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan, 50])
def test_what_is_no_progress(fraction: float) -> None:
    with pytest.raises(InvalidValue, match="between 0 and 1"):
        Agent().task().progress(fraction)


def test_only_the_tasks_own_process_may_ask() -> None:
    me = Agent().task()
    pid = os.fork()
    if pid == 0:
        try:
            me.try_grow_to(cpu=5)
        except NotInTask:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_who_looks_whether_it_is_cancelled_is_not_interrupted() -> None:
    first, second = Agent().task(), Agent().task()
    looked = [first.cancelled]
    assert first._tell_to_stop() is True
    looked.append(first.cancelled)
    assert looked == [False, True]
    assert second._tell_to_stop() is False


def test_old_names_go_on_with_a_warning() -> None:
    agent = Agent()
    me = agent.task()
    with pytest.warns(DeprecationWarning, match="shrink_to"):
        me.release(cpu=2)
    with pytest.warns(DeprecationWarning, match="try_grow_to"):
        assert me.try_grow(memory="2G")
    assert agent.asked == [(2, None), (None, 2048)]
    with pytest.warns(DeprecationWarning, match="StopRequested"):
        assert context.TaskCancelled is context.StopRequested
    with pytest.raises(AttributeError):
        context.no_such_thing  # noqa: B018
