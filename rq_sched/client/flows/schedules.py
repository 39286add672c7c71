"""Schedules: made, looked at, changed."""

from __future__ import annotations

from collections.abc import Sequence

from rq_sched.client.flows.base import BaseFlows
from rq_sched.client.steps import Flow, run
from rq_sched.model.schedule import Schedule, ScheduleInfo


class ScheduleFlows(BaseFlows):
    """The flows about schedules."""

    def every(self, schedule: Schedule) -> Flow[bool]:
        """Make one; False: the same is here already.  Raises: ScheduleExists, InvalidValue, FeatureMissing."""
        return run(self.store.schedule_add(schedule))

    def schedules(self, names: Sequence[str] | None = None) -> Flow[list[ScheduleInfo]]:
        """Those of these names; None: all.  Raises: ScheduleNotFound."""
        return run(self.store.schedules(names))

    def schedule_pause(self, name: str) -> Flow[bool]:
        """It makes no tasks.  Raises: ScheduleNotFound."""
        return run(self.store.schedule_pause(name))

    def schedule_resume(self, name: str) -> Flow[bool]:
        """It goes on.  Raises: ScheduleNotFound, Unreadable."""
        return run(self.store.schedule_resume(name))

    def schedule_remove(self, name: str) -> Flow[None]:
        """There is none any more.  Raises: ScheduleNotFound."""
        return run(self.store.schedule_remove(name))

    def schedule_run(self, name: str) -> Flow[str]:
        """A task of it now.  Raises: ScheduleNotFound, WrongState."""
        return run(self.store.schedule_run(name))
