"""``AsyncClient``: everything a program can do with tasks and nodes, awaiting each answer.

The same that blocks is ``Client`` (``blocking/client.py``). Only ``executor`` has no twin: gather the results instead.
A client belongs to the event loop it is used in; when that is closed, it may be used in another.
"""

from __future__ import annotations

from rq_sched.client.awaiting.limits import AsyncLimitMethods
from rq_sched.client.awaiting.nodes import AsyncNodeMethods
from rq_sched.client.awaiting.schedules import AsyncScheduleMethods
from rq_sched.client.awaiting.submit import AsyncSubmitMethods
from rq_sched.client.awaiting.tasks import AsyncTaskMethods
from rq_sched.client.awaiting.wait import AsyncWaitMethods


class AsyncClient(
    AsyncSubmitMethods, AsyncWaitMethods, AsyncTaskMethods, AsyncScheduleMethods, AsyncLimitMethods, AsyncNodeMethods
):
    """A connection to one namespace, for asyncio.

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

    >>> async with AsyncClient() as client:  # doctest: +SKIP
    ...     handle = await client.submit("math:sqrt", 2.0, memory="64M")
    ...     await handle.result(timeout=5)
    1.4142135623730951
    """
