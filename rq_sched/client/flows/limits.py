"""Limits that hold across nodes: set, looked at."""

from __future__ import annotations

from rq_sched.client.flows.base import BaseFlows
from rq_sched.client.steps import Flow, run
from rq_sched.model.limits import LimitInfo


class LimitFlows(BaseFlows):
    """The flows about limits."""

    def limits(self) -> Flow[list[LimitInfo]]:
        """All, by name."""
        return run(self.store.limits())

    def set_limit(self, name: str, most: int | str | None) -> Flow[None]:
        """How much of it may be in use at once.  Raises: InvalidValue."""
        return run(self.store.limit_set(name, most))
