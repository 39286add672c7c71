"""What a worker needs to know."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from rq_sched.errors import InvalidValue, UsageError
from rq_sched.link.address import PASSWORD_FILE, parse
from rq_sched.model.held import without_any
from rq_sched.model.ids import check_id
from rq_sched.model.labels import parse_labels
from rq_sched.model.offers import Offers, parse_offers
from rq_sched.model.resources import Resources
from rq_sched.model.signing import KEY, Signer
from rq_sched.worker.allow import Allow
from rq_sched.worker.reach import Reach

DEFAULT_TTL = 10.0
"""Seconds; in the scripts, too, where a node's record doesn't say it."""
MEMORY_FLOOR = 32
"""MB: Python alone takes some of that."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker needs to know.

    Parameters:
        url: where Redis is.
        node_id: the node's id, unique in the namespace.
        total: what the node offers.
        labels: what the node carries: tasks that require a label run on nodes with it alone.
        resources: what it has beside CPU and memory, for tasks that ask for some: ``gpu=4``, ``gpu=[0,2]``.
        allow: patterns of what it may run (``allow.py``). Empty: everything on a unix socket, else refused.
        allow_dir, allow_env: patterns of the folders and variables that requests may name (``reach.py``); empty: the
            defaults.
        chdir: where tasks run, and where functions are looked for first; None: the present folder.
        ttl: seconds without a heartbeat after which the node counts as dead.
        grace: seconds that running tasks have to end when the worker is stopped.
        on_lost_redis: ``kill`` or ``keep`` running tasks before others declare the node dead.
        health_file: where the worker notes how it is; None: a file that ``rq-sched health`` looks for (``health.py``).
        signing_key: only requests signed with this secret are run (``signing.py``); None: signatures aren't looked at.
        affinity: ``auto``: tasks are pinned to cores of their own where the node's cores are real; or ``off``.
        enforce_memory: whether tasks that use more memory than they may are killed.
        memory_floor: MB that no task is killed for, however little it has asked for.
        share_redis: whether tasks find this Redis and namespace in their environment, so that ``Client()`` and
            ``rq-sched`` work in them.
        max_tasks_per_child: tasks that a process is used for; 0: no limit; 1: a new process each, some are kept ready.
        log_level, log_format: as for ``logs.setup``.
        secrets: the descriptor of a file with address and signing key (``concealed.py``); None: they stand here.
    """

    url: str
    namespace: str
    node_id: str
    total: Resources
    allow: tuple[str, ...]
    chdir: str | None = None
    ttl: float = DEFAULT_TTL
    grace: float = 10.0
    on_lost_redis: str = "kill"
    affinity: str = "auto"
    enforce_memory: bool = True
    share_redis: bool = True
    max_tasks_per_child: int = 0
    log_level: str = "info"
    log_format: str = "text"
    health_file: str | None = None
    signing_key: str | None = field(default=None, repr=False)
    labels: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    secrets: int | None = None
    allow_dir: tuple[str, ...] = ()
    allow_env: tuple[str, ...] = ()
    memory_floor: int = MEMORY_FLOOR

    def check(self) -> Allow:
        """What it may run, if everything else is right too.

        Raises:
            UsageError: something isn't; the message says what to do.
        """
        check_id(self.namespace, "namespace")
        check_id(self.node_id, "node id")
        if parse_labels(self.labels) != tuple(self.labels):
            raise InvalidValue(f"labels must be sorted, each once (labels.parse_labels does it), not {self.labels!r}")
        _ = self.offers
        address = parse(self.url)
        if not self.allow and not address.socket:
            raise UsageError(
                "a worker on a network socket runs only what it is told to: name it with --allow, such as "
                "--allow 'pkg.mod:*' or --allow exec:/usr/bin/convert"
            )
        if self.signing_key is not None:
            Signer(self.signing_key, self.namespace)
        if not os.path.isdir(self.folder):
            raise InvalidValue(f"--chdir: no such folder {self.chdir!r}")
        if not 0.1 <= self.ttl <= 86_400:
            raise InvalidValue(f"--ttl must be between 0.1 seconds and a day, not {self.ttl:g} seconds")
        if not 0 <= self.grace <= 86_400:
            raise InvalidValue(f"--grace must be between 0 seconds and a day, not {self.grace:g} seconds")
        if self.on_lost_redis not in ("kill", "keep"):
            raise InvalidValue(f"--on-lost-redis must be kill or keep, not {self.on_lost_redis!r}")
        if self.affinity not in ("auto", "off"):
            raise InvalidValue(f"--affinity must be auto or off, not {self.affinity!r}")
        if not 0 <= self.max_tasks_per_child <= 2**53:
            raise InvalidValue(f"--max-tasks-per-child must be 1 or more, not {self.max_tasks_per_child}")
        _ = self.reach
        return Allow(self.allow or ("*",))

    def set_environment(self, environment: MutableMapping[str, str]) -> None:
        """Make it what tasks are to find in theirs. The secret isn't among it: the configuration has that."""
        environment.pop(KEY, None)
        environment.update(without_any(self.offers))
        if self.share_redis:
            environment.update(RQ_SCHED_REDIS_URL=self.url, RQ_SCHED_NAMESPACE=self.namespace)
            return
        environment.pop(PASSWORD_FILE, None)
        for name in ("RQ_SCHED_REDIS_URL", "REDIS_URL"):
            if environment.get(name) == self.url:  # else it is another one, of the application's
                del environment[name]

    @property
    def folder(self) -> str:
        """Where tasks run: an absolute path."""
        return str(Path(self.chdir or ".").absolute())

    @property
    def offers(self) -> Offers:
        """What it has beside CPU and memory.  Raises: InvalidResources: something of that can't be read."""
        return parse_offers(self.resources, "--resource")

    @property
    def reach(self) -> Reach:
        """What requests may name.  Raises: InvalidValue: a pattern isn't one."""
        return Reach(self.folder, self.allow_dir, self.allow_env)

    @property
    def tick(self) -> float:
        """Seconds between two signs of life from the agent to the parent."""
        return self.ttl / 10


@dataclass(slots=True)
class Assignment:
    """What a new agent has to do first.

    Parameters:
        previous: an incarnation whose processes are gone, to be reported dead.
        delay: seconds to wait before registering.
        only_leave: the worker is being stopped: just report.
        patient: wait for Redis if it is away (at the very first start, say so and end).
    """

    previous: str | None
    delay: float
    only_leave: bool
    patient: bool
