"""``rq-sched events``: the decision log, past and as it grows."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import click

from rq_sched.cli import show
from rq_sched.cli.options import NODE_ID, TASK_ID, Invocation, Limit, command
from rq_sched.model.task import iso

if TYPE_CHECKING:
    from rq_sched.model.events import Event

BATCH = 1000
"""Entries of the log read in one go; each holds one event or more."""


@command("events")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option("--task", "task_id", type=TASK_ID, help="Only what concerns this task.")
@click.option("--node", "node_id", type=NODE_ID, help="Only what concerns this node.")
@click.option("-n", "--limit", type=Limit(0), default=50, show_default=True, help="Only the last so many.")
@click.pass_obj
def events_command(session: Invocation, follow: bool, task_id: str | None, node_id: str | None, limit: int) -> None:
    """Print the decision log: submitted, placed, started, completed, requeued, reaped ..., oldest first."""
    newest = session.run(session.store.events(limit=max(1, min(limit, BATCH)), newest=True))
    last = newest[-1].id if newest else "0-0"
    past: Sequence[Event]
    if task_id and not node_id:
        past = session.run(session.store.events_of_task(task_id, limit))
    elif node_id or limit > BATCH:  # all of the log is read, and only the end of what is wanted kept
        past = deque(_events(session, task_id, node_id), maxlen=limit)
    else:
        past = newest[-limit:] if limit else []
    last = past[-1].id if past else last
    for event in past:
        _print(session, event)
    if follow:
        sys.stdout.flush()
        for event in _events(session, task_id, node_id, after=last, follow=True):
            _print(session, event)
            sys.stdout.flush()
    elif not past and not session.json:
        show.line("no such events")


def _events(
    session: Invocation, task_id: str | None, node_id: str | None, after: str | None = None, follow: bool = False
) -> Iterator[Event]:
    return chain.from_iterable(session.taker.stream(session.flows.events(task_id, node_id, after, follow)))


def _print(session: Invocation, event: Event) -> None:
    if session.json:
        head = {"id": event.id, "time": iso(event.time), "type": event.type}
        show.json_line({**head, "task_id": event.task_id, "node_id": event.node_id, **event.data})
        return
    where = f" on {event.node_id}" if event.node_id and event.task_id else ""
    details = "".join(f"  {name} {value}" for name, value in event.data.items())
    what = event.task_id or event.node_id or ""
    text = show.safe(f"{event.type:<11} {what}{where}{details}")
    for part in show.fold(text, show.terminal_width(), f"{show.clock(event.time, fraction=True)}  ", " " * 4):
        show.line(part)
