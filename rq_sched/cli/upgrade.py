"""``rq-sched upgrade``: convert the data of a namespace to the version that this code works with."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import click

from rq_sched.cli import show
from rq_sched.cli.bar import progress_bar
from rq_sched.cli.options import Invocation, command
from rq_sched.errors import NamespaceInUse, RedisRefused, UsageError
from rq_sched.link import Link
from rq_sched.model.schema import SCHEMA
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.upgrade import Upgrade
from rq_sched.upgrade.fence import fence

PATIENCE = 6.0
"""Seconds in which processes that were just stopped are no longer counted as alive."""


@command("upgrade")
@click.option("--data", metavar="DIR", help="The data of an `rq-sched up`, whose server is started for that.")
@click.pass_obj
def upgrade_command(session: Invocation, data: str | None) -> None:
    """Convert the data of the namespace to the version that this rq-sched works with.

    Stop schedulers, workers and clients first; it is refused while a scheduler or worker lives. Nothing is lost: each
    task keeps its state, its place in the order, its attempts and its result. It may be stopped and started again at
    any time.
    """
    if data is not None and session.redis is not None:
        raise UsageError("--data is for what `rq-sched up` keeps on this machine: leave --redis away")
    with contextlib.ExitStack() as stack:
        if data is not None:
            session.redis = stack.enter_context(EmbeddedServer(Path(data))).url
        link = Link(session.url, answer_seconds=session.store.answer_seconds)  # which doesn't mind another version
        stack.callback(link.close)
        began, tasks = _convert(link, Upgrade(session.space))
    if session.json:
        show.json_line({"namespace": session.space, "from": began or SCHEMA, "to": SCHEMA, "tasks": tasks})
    elif began is None:
        show.line(f"namespace {session.space} has data of version {SCHEMA}: there is nothing to do")
    else:
        what = f"{show.count(tasks, 'task')} converted from version {began} to {SCHEMA}"
        show.paragraph(f"namespace {session.space}: {what}; start its processes again")


def _convert(link: Link, upgrade: Upgrade) -> tuple[int | None, int]:
    """From which version (None: there was nothing to do), and how many tasks."""
    version = began = _begin(link, upgrade)
    if began is None:
        return None, 0
    with contextlib.suppress(RedisRefused):  # this user may not: it keeps out only who shouldn't be there
        link.run(fence())
    tasks = 0
    with progress_bar("upgrading", None) as update:
        while version is not None:
            cursor = -1
            while cursor:
                cursor, more = link.run(upgrade.bite(max(cursor, 0)))
                tasks += more
                update(tasks, show.count(tasks, "task"))
            version = link.run(upgrade.end())
    return began, tasks


def _begin(link: Link, upgrade: Upgrade) -> int | None:
    """Keep everybody out. Who was just stopped still counts as alive for a moment."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return link.run(upgrade.begin())
        except NamespaceInUse:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)
