"""``AsyncClient`` and its handles. From all but ``client.py`` the files in ``blocking/`` are made: after a change run
``python -m tools.twins``.
"""

from __future__ import annotations

from rq_sched.client.awaiting.client import AsyncClient as AsyncClient
from rq_sched.client.awaiting.handles import AsyncEndedTask as AsyncEndedTask
from rq_sched.client.awaiting.handles import AsyncTaskHandle as AsyncTaskHandle
from rq_sched.client.awaiting.handles import AsyncTaskHandles as AsyncTaskHandles
from rq_sched.client.awaiting.stepper import AsyncStepper as AsyncStepper
