"""``rq-sched explain``: why a task is pending, or what happened to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import click

from rq_sched.cli import show
from rq_sched.cli.options import Session, command, one_task_id
from rq_sched.task import State


@command("explain")
@one_task_id
@click.pass_obj
def explain_command(session: Session, task_id: str) -> None:
    """Say why a task is pending: where it fits, what is short, how many are ahead; or what happened to it."""
    found = session.run(session.store.explain(task_id))
    if session.json:
        show.json_line(found)
        return
    reason = f" ({found['reason']})" if found.get("reason") else ""
    show.heading(task_id, f"{found['state']}{reason}")
    for text in _sentences(found):
        show.line("  " + show.safe(text, lines=True).replace("\n", "\n  "))


def _sentences(found: Mapping[str, Any]) -> Iterator[str]:
    state = State(found["state"])
    if state is State.PENDING:
        yield from _pending(found)
    elif state is State.DELAYED:
        why = "after a failure it is tried again later" if found.get("reason") == "retry" else "--delay"
        yield f"waits until {_due(found)}: {why} (to run it now: `rq-sched requeue {found['task_id']}`)"
    elif state is State.HELD:
        yield f"a user set it aside; to bring it back: `rq-sched unhold {found['task_id']}`"
    else:
        yield from _placed(found, state)


def _due(found: Mapping[str, Any]) -> str:
    return show.clock(datetime.fromisoformat(found["due"]).timestamp()) if found.get("due") else "its time has come"


def _pending(found: Mapping[str, Any]) -> Iterator[str]:
    need = show.needs(found["cpu_needed"], found["memory_needed"])
    nodes, fits_now, fits_empty = found["nodes"], found["fits_now"], found["fits_empty"]
    yield f"needs {need}"
    if not nodes:
        yield "no node is up: start one (`rq-sched worker`, `rq-sched up`)"
    elif not fits_empty:
        yield f"no node could hold it even when empty: {show.count(nodes, 'node')} up (`rq-sched nodes`)"
    else:
        yield f"fits now on {fits_now} of {show.count(nodes, 'node')}, on {fits_empty} if empty"
        short = [f"{what} on {found[f'short_{what}']}" for what in ("cpu", "memory") if found[f"short_{what}"]]
        if short:
            yield f"too little is free: {', '.join(short).replace('cpu', 'CPU')}"
    yield f"{show.count(found['ahead'], 'task')} ahead of it" if found["ahead"] else "it is the first in order"
    if found.get("reserved"):
        yield f"reserved for it: {found['reserved']}"


def _placed(found: Mapping[str, Any], state: State) -> Iterator[str]:
    task_id, node = found["task_id"], found.get("node_id")
    attempt = f"attempt {found['attempt']}" if found.get("attempt") else "no attempt was made"
    where = f"{attempt} on {node}" if node else attempt
    if state is State.ASSIGNED:
        yield f"{where}: placed, its start isn't reported yet"
    elif found.get("reason") in ("cancelling", "stopping"):
        yield f"{where}: told to stop; its node reports when the processes are gone"
    elif state is State.RUNNING:
        yield f"{where} (what it writes: `rq-sched logs -f {task_id}`)"
    else:
        yield where
    if state is State.FAILED:
        yield f"to run it again: `rq-sched requeue {task_id}`"
    if found.get("error"):
        yield f"{found['error']}".rstrip()
