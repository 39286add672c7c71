"""What can be done with the truth in Redis: one method a transition, one a question. The one room that knows keys and
records.

Each method returns an operation (``link.Op``) that a ``Link`` or ``AsyncLink`` carries out::

    link.run(store.cancel("t1", requeue=False))

Writing is always one script; what a script promises stands at its head (``lua/``). The parts are siblings:
``submit.py``, ``tasks.py``, ``schedules.py`` and ``limits.py`` for users; ``scheduling.py`` for schedulers;
``nodes.py`` and ``attempts.py`` for agents; ``reads.py``, ``lists.py`` and ``explain.py`` only ask; ``schema.py`` tells
whether the data can be read at all.
"""

from __future__ import annotations

from typing import Any

from rq_sched.model.durability import MEMORY, Durability
from rq_sched.store.attempts import Attempts
from rq_sched.store.explain import Explain
from rq_sched.store.keys import Keys
from rq_sched.store.limits import Limits
from rq_sched.store.lists import Lists
from rq_sched.store.nodes import Nodes
from rq_sched.store.schedules import Schedules
from rq_sched.store.scheduling import Scheduling
from rq_sched.store.schema import Schema
from rq_sched.store.submit import SUBMIT_PLACINGS
from rq_sched.store.tasks import Tasks


class Store(Schedules, Tasks, Limits, Scheduling, Nodes, Attempts, Lists, Explain, Schema):
    """The operations on one namespace.

    Parameters:
        namespace: its name.
        now_ms: a clock in ms that replaces Redis' (tests and simulations move it); None: Redis' own.
        placings: how many tasks a submit call may place itself; 0 leaves all to the schedulers.
        durability: how safe tasks must be before a submit answers.
        signing_key: a secret shared with the workers, with which submits are signed (``signing.py``).

    >>> Store("default").keys.task("t1")
    'rqs:{default}:task:t1'
    """

    def __init__(
        self,
        namespace: str,
        now_ms: Any = None,
        placings: int = SUBMIT_PLACINGS,
        *,
        durability: Durability = MEMORY,
        signing_key: str | None = None,
    ) -> None:
        super().__init__(Keys(namespace), now_ms, placings, durability, signing_key)
