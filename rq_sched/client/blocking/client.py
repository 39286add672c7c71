"""``Client``: everything a program can do with tasks and nodes, waiting for each answer.

The same with ``await`` is ``AsyncClient`` (``awaiting/client.py``). Its methods stand in the files beside this one.

Threads may share a client, and a process may use it after a fork: every call takes a connection for itself, waits for
one if all are in use, and makes new ones in a forked child. Only an executor and what is being iterated stay with their
process. (``docs/clients.md``)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rq_sched.client.blocking.limits import LimitMethods
from rq_sched.client.blocking.nodes import NodeMethods
from rq_sched.client.blocking.schedules import ScheduleMethods
from rq_sched.client.blocking.submit import SubmitMethods
from rq_sched.client.blocking.tasks import TaskMethods
from rq_sched.client.blocking.wait import WaitMethods

if TYPE_CHECKING:
    from typing import Unpack

    from rq_sched.client.executor import TaskExecutor
    from rq_sched.model.target import Options


class Client(SubmitMethods, WaitMethods, TaskMethods, ScheduleMethods, LimitMethods, NodeMethods):
    """A connection to one namespace.

    Parameters:
        url: where Redis is; None: ``RQ_SCHED_REDIS_URL``, ``REDIS_URL``, a running ``rq-sched up``, or localhost.
        namespace: None: ``RQ_SCHED_NAMESPACE``, or ``default``.
        durability: how safe tasks must be before a submit returns (``docs/durability.md``): ``memory``, ``aof``,
            ``replicated`` or ``replicated:N``; None: ``RQ_SCHED_DURABILITY``, or ``memory``.
        durability_timeout: seconds, or such as ``"1m"``, until a submit raises ``DurabilityNotReached`` (tasks are
            accepted even then).
        signing_key: the secret that signs what is submitted (``docs/security.md``).
        signing_key_file: a file with it. Neither: what the environment says, or unsigned.

    Raises:
        InvalidValue: a bad address, namespace or level; a key file that can't be read, or that others can read.

    Every method may raise ``RedisUnavailable`` (or a subclass). Nothing is asked of Redis before the first call.

    >>> with Client() as client:  # doctest: +SKIP
    ...     client.submit("math:sqrt", 2.0, memory="64M").result(timeout=5)
    1.4142135623730951
    """

    def executor(self, **options: Unpack[Options]) -> TaskExecutor:
        """A ``concurrent.futures.Executor`` whose futures are tasks.

        Parameters:
            options: those of ``submit``, for every task of it (``task_id`` and ``array`` excepted).

        >>> with client.executor(cpu=1, memory=256) as pool:  # doctest: +SKIP
        ...     list(pool.map(f, range(100)))
        """
        from rq_sched.client.executor import TaskExecutor

        return TaskExecutor(self, **options)
