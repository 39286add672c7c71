"""What a client does, as *flows*: generators of steps that do no IO (``steps.py``).

``submit.py``, ``wait.py``, ``tasks.py``, ``schedules.py``, ``limits.py`` and ``nodes.py`` hold those of the client's
methods of the same files, ``cancel.py`` those of cancelling, ``watch.py`` that of watching.
"""

from __future__ import annotations

from rq_sched.client.flows.base import PATIENCE as PATIENCE
from rq_sched.client.flows.cancel import CancelFlows
from rq_sched.client.flows.limits import LimitFlows
from rq_sched.client.flows.nodes import NodeFlows
from rq_sched.client.flows.schedules import ScheduleFlows
from rq_sched.client.flows.submit import SubmitFlows
from rq_sched.client.flows.tasks import TaskFlows
from rq_sched.client.flows.wait import WaitFlows
from rq_sched.client.flows.watch import WatchFlows


class Flows(SubmitFlows, WaitFlows, WatchFlows, TaskFlows, CancelFlows, ScheduleFlows, LimitFlows, NodeFlows):
    """The flows of one client.

    Parameters:
        store: makes the operations.
        clock: tells seconds, for deadlines.
        poll: seconds between two looks at tasks whose doorbell may have been lost.
    """
