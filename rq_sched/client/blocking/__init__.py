"""``Client`` and its handles. ``client.py`` is written by hand; the others are made from ``awaiting/`` by
``python -m tools.twins``.
"""

from __future__ import annotations

from rq_sched.client.blocking.client import Client as Client
from rq_sched.client.blocking.handles import EndedTask as EndedTask
from rq_sched.client.blocking.handles import TaskHandle as TaskHandle
from rq_sched.client.blocking.handles import TaskHandles as TaskHandles
from rq_sched.client.blocking.stepper import Stepper as Stepper
