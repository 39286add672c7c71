"""``rq-sched health``: are the scheduler and the worker on this machine well?"""

from __future__ import annotations

import time
from pathlib import Path

import click

from rq_sched.cli import show
from rq_sched.cli.options import Invocation, command
from rq_sched.process import health
from rq_sched.process.environment import DEFAULT_NAMESPACE
from rq_sched.process.health import Note


@command("health")
@click.option("--file", metavar="FILE", help="Of the process with this --health-file (default: all of this user).")
@click.option(
    "--live",
    is_flag=True,
    help="One that waits for Redis, or for its machine to be well, is well enough: starting it anew wouldn't help.",
)
@click.pass_obj
def health_command(session: Invocation, file: str | None, live: bool) -> int:
    """Say whether schedulers and workers of this machine have done their work lately. Exit code 1: one hasn't, or
    there is none. It doesn't ask Redis."""
    found: list[Note] = list(health.notes()) if file is None else [n for n in [health.read(Path(file))] if n]
    now = time.time()
    problems = {id(note): note.problem(now, live=live) for note in found}
    ok = bool(found) and not any(problems.values())
    if session.json:
        processes = [
            {
                "role": n.role,
                "name": n.name,
                "namespace": n.namespace,
                "pid": n.pid,
                "ok": not problems[id(n)],
                "message": problems[id(n)],
            }
            for n in found
        ]
        show.json_line({"ok": ok, "processes": processes})
        return 0 if ok else 1
    for note in sorted(found, key=lambda note: problems[id(note)] is None):
        where = f" in {note.namespace}" if note.namespace not in ("", DEFAULT_NAMESPACE) else ""
        show.paragraph(f"{note.role} {note.name}{where}: {problems[id(note)] or note.mood}")
    if not found:
        nothing = "no scheduler or worker runs here" if file is None else f"{file}: no process has written there"
        show.paragraph(nothing)
    return 0 if ok else 1
