"""The long-running commands for production: ``scheduler`` and ``worker``."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from rq_sched.cli.failure import deprecated, print_warning
from rq_sched.cli.options import (
    CPU,
    DURATION,
    LABEL,
    MEMORY,
    NODE_ID,
    TEXT,
    Invocation,
    children_options,
    command,
    logging_options,
    tasks_of_child,
)

if TYPE_CHECKING:
    from rq_sched.worker import WorkerConfig

PR_SET_PDEATHSIG = 1
OLD_MEMORY = {"enforce": "--enforce-memory", "off": "--no-enforce-memory"}
OLD_REDIS = {"share": "--share-redis", "hide": "--hide-redis"}
"""Values of options from before 1.0, and how they are said now; the first of each means yes."""

with_parent = click.option("--with-parent", type=int, hidden=True, help="Stop when this process, our parent, is gone.")


def stop_with_parent(parent: int | None) -> None:
    """Get SIGTERM when the process that started us is gone, however it went (Linux; elsewhere nothing)."""
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # gone before we asked
        raise KeyboardInterrupt


def warn_of_password(session: Invocation) -> None:
    """Whoever may run `ps` on this machine sees a command line."""
    from rq_sched.link.address import shown

    if session.redis is not None and shown(session.redis) != session.redis:
        print_warning(
            "the password of Redis is on the command line, where `ps` shows it to everybody on this machine: put the "
            "address into RQ_SCHED_REDIS_URL, or the password into a file that RQ_SCHED_REDIS_PASSWORD_FILE names",
            as_json=session.json,
        )


@command("scheduler")
@click.option("--health-file", metavar="FILE", help="Where it notes how it is; `rq-sched health` reads that.")
@logging_options("info")
@with_parent
@click.pass_obj
def scheduler_command(
    session: Invocation, health_file: str | None, log_level: str, log_format: str, with_parent: int | None
) -> int:
    """Run a scheduler: it places tasks on nodes, and gives back what dead nodes held.

    Any number may run, on any machines; any of them may be killed at any time. SIGTERM or Ctrl-C stops it.
    """
    stop_with_parent(with_parent)
    warn_of_password(session)
    from rq_sched.scheduler.process import SchedulerConfig, run

    log_format = "json" if session.json else log_format
    return run(SchedulerConfig(session.url, session.space, log_level, log_format, health_file))


@command("worker")
@click.option("--node-id", type=NODE_ID, help="The node's id (default: the machine's name).")
@click.option("--cpu", type=CPU, help="Cores that it offers (default: all).")
@click.option(
    "--memory", type=MEMORY, help="MB that it offers, or such as 24G (default: what the machine has, less 10%)."
)
@click.option("--label", "labels", type=LABEL, multiple=True,
              help="A label that it carries, for tasks that require it. May be given often.")  # fmt: skip
@click.option("--resource", "resources", type=TEXT, multiple=True, metavar="NAME=AMOUNT",
              help="What it has for tasks that ask for it: gpu=4, 'gpu=[0,2]', gpu=auto, scratch=200000. "
                   "May be given often.")  # fmt: skip
@click.option("--allow", multiple=True, metavar="PATTERN",
              help="What it may run: pkg.mod:func, pkg.mod:*, pkg.*, exec:PATH. May be given often.")  # fmt: skip
@click.option("--allow-dir", multiple=True, metavar="PATTERN",
              help="Folders that requests may name, with what is below them (default: that of --chdir).")  # fmt: skip
@click.option("--allow-env", multiple=True, metavar="PATTERN",
              help="Variables that they may set (default: not LD_*, DYLD_*, PYTHON*, PATH, RQ_SCHED_*).")  # fmt: skip
@click.option("--chdir", metavar="DIR", help="Where tasks run, and where functions are looked for first.")
@click.option("--grace", type=DURATION, default=10.0, show_default=True,
              help="What running tasks have to end, on SIGTERM.")  # fmt: skip
@click.option("--ttl", type=DURATION, default=10.0, show_default=True,
              help="After this long without a heartbeat the node counts as dead.")  # fmt: skip
@click.option("--on-lost-redis", type=click.Choice(["kill", "keep"]), default="kill", show_default=True,
              help="What becomes of running tasks before the node counts as dead elsewhere.")  # fmt: skip
@click.option("--signing-key-file", metavar="FILE",
              help="Run only what is signed with the secret in it (or RQ_SCHED_SIGNING_KEY).")  # fmt: skip
@click.option("--health-file", metavar="FILE", help="Where it notes how it is; `rq-sched health` reads that.")
@click.option("--affinity", type=click.Choice(["auto", "off"]), default="auto", show_default=True,
              help="Whether tasks are pinned to cores of their own, where the node's cores are real.")  # fmt: skip
@click.option("--enforce-memory/--no-enforce-memory", default=True, show_default=True,
              help="Whether tasks that use more memory than they may are killed.")  # fmt: skip
@click.option("--memory-floor", type=MEMORY,
              help="MB that no task is killed for, however little it has asked for (default: 32).")  # fmt: skip
@click.option("--share-redis/--hide-redis", default=True, show_default=True,
              help="Whether tasks find the address of this Redis in their environment.")  # fmt: skip
@click.option("--memory-limit", type=click.Choice(["enforce", "off"]), hidden=True)
@click.option("--tasks-redis", type=click.Choice(["share", "hide"]), hidden=True)
@children_options
@logging_options("info")
@with_parent
@click.pass_obj
def worker_command(session: Invocation, /, with_parent: int | None, **options: Any) -> int:
    """Run a worker: this machine becomes a node that runs tasks.

    SIGTERM or Ctrl-C lets running tasks end within --grace, then gives them back to the queue; a second one stops at
    once. SIGHUP: there is new code, tasks begin in new processes from now on. On a network socket --allow must say what
    it may run; on a unix socket the default is everything.
    """
    stop_with_parent(with_parent)
    warn_of_password(session)
    from rq_sched.worker import run
    from rq_sched.worker.parent import concealed

    config = _worker_config(session, options)
    config.check()
    concealed.conceal(config)
    return run(config)


def _worker_config(session: Invocation, options: dict[str, Any]) -> WorkerConfig:
    """What the options say: those that aren't taken out here are fields of the same name."""
    from rq_sched.cli.machine import default_node_id, machine_size
    from rq_sched.link.address import complete
    from rq_sched.model.labels import parse_labels
    from rq_sched.model.resources import Resources
    from rq_sched.process.environment import signing_key
    from rq_sched.worker import WorkerConfig
    from rq_sched.worker.config import MEMORY_FLOOR
    from rq_sched.worker.devices import with_cards
    from rq_sched.worker.parent import concealed

    take = options.pop
    secrets = concealed.secrets_descriptor()
    for old, new, values in (
        ("memory_limit", "enforce_memory", OLD_MEMORY),
        ("tasks_redis", "share_redis", OLD_REDIS),
    ):
        options[new] = _renamed(old, take(old), values, options[new], session, secrets is None)
    cpu, memory, key_file, log_format = take("cpu"), take("memory"), take("signing_key_file"), take("log_format")
    size = machine_size() if cpu is None or memory is None else Resources(cpu, memory)
    return WorkerConfig(
        url=session.url if options["share_redis"] or secrets is not None else complete(session.url),
        namespace=session.space,
        node_id=take("node_id") or default_node_id(),
        total=Resources(cpu or size.cpu, memory or size.memory),
        labels=parse_labels(take("labels"), "--label"),
        resources=tuple(with_cards(take("resources"))),
        signing_key=None if secrets is not None else signing_key(key_file),
        secrets=secrets,
        memory_floor=take("memory_floor") or MEMORY_FLOOR,
        max_tasks_per_child=tasks_of_child(take("fresh"), take("max_tasks_per_child")),
        log_format="json" if session.json else log_format,
        **options,
    )


def _renamed(
    name: str, value: str | None, new: Mapping[str, str], otherwise: bool, session: Invocation, tell: bool
) -> bool:
    """What an option from before 1.0 says, where it is given. ``tell``: say that it has another name now."""
    if value is None:
        return otherwise
    if tell:
        deprecated(f"--{name.replace('_', '-')} {value}", new[value], as_json=session.json)
    return value == next(iter(new))
