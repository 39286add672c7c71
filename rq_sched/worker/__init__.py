"""The worker: makes a machine a node, and runs tasks on it.

Four kinds of processes, so that no task can harm more than itself::

    parent ──── agent                   one event loop; all talk with Redis
       ├─────── subreaper ── child 1    runs one task after another, in a process group of its own
       └─────── subreaper ── child 2    …

The *parent* forks the agent and, when the agent asks, children. It knows every process group by construction, reaps
what dies, and never talks to Redis. The *agent* talks to Redis and, over socket pairs, to the children; it never runs
a task. A *child* is warm: it stays for the next task. Its *subreaper* adopts and reaps what its tasks orphan
(``subreaper.py``). All processes below a subreaper belong to the task of its child: they are gone before the task's end
is reported (``nursery.py``).

What they say to each other stands in ``frames.py``. Each kind has a room: ``parent/``, ``agent/``, ``child/``.

**The life of a task here.** A start order comes with a reply or is fetched (``orders.py``). The attempt gets an idle
child, or one is forked (``attempts.py``, ``waiting.py``, ``pool.py``). The child finds the function, if ``--allow``
names it, and calls it (``functions.py``, ``runner.py``); what it prints goes through a pipe to the agent. The end goes
out with the next report, whose reply brings the next orders (``outbox.py``). To stop a task: SIGTERM to its
group, after the grace SIGKILL.

**Who notices what.**

==============================  ====================================================================================
a child dies                    the parent reaps it, kills its group, then tells the agent: the attempt has crashed
the agent dies, or hangs        the parent kills all children; the agent that it starts next reports the old
                                incarnation dead before it does anything else, and joins as a new one
the parent dies                 the subreapers kill all that is below them; the agent waits for that, reports, ends
both are killed                 the same; the next start here kills what is left, and reports (``run_record.py``)
Redis can't be reached          the agent ends all tasks before others declare the node dead (``lease.py``); reports
                                are kept until they can be sent
Redis has lost writes           heartbeats carry a digest of what runs; on a difference the agent reads the ledger, and
                                ends, gives back or stops what isn't as there (``reconcile.py``)
the incarnation was given up    the agent ends all tasks and joins as a new one (``session.py``)
==============================  ====================================================================================

**The end.** SIGTERM: no new tasks; what runs has ``grace`` seconds, then it is stopped and given back; the node leaves.
A second SIGTERM: stopped at once.
"""

from __future__ import annotations

import os

from rq_sched.worker.config import WorkerConfig as WorkerConfig

__all__ = ["WorkerConfig", "run"]


def run(config: WorkerConfig) -> int:
    """Run a worker until SIGTERM or SIGINT; the exit code.

    Installs signal handlers, forks, and reaps every child of this process: call it in a process (and the main thread)
    that does nothing else.

    Raises:
        UsageError: the configuration is wrong, or the node id is alive elsewhere.
        RedisUnavailable: Redis can't be used at the start (later outages are waited out).

    >>> run(WorkerConfig("unix:///run/redis.sock", "default", "n1", Resources(4, 8192), ()))  # doctest: +SKIP
    0
    """
    from rq_sched.process import logs
    from rq_sched.worker.parent import process as parent

    config.set_environment(os.environ)
    logs.setup(config.log_level, config.log_format)
    return parent.run(config)
