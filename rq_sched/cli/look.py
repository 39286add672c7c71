"""Looking at tasks: ``status``, ``list``, ``result``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from rq_sched.cli import show
from rq_sched.cli.failure import print_error, print_warning
from rq_sched.cli.options import (
    NODE_ID,
    PRIORITY,
    TASK_ID,
    Invocation,
    Limit,
    command,
    one_task_id,
    tag_option,
    task_ids,
)
from rq_sched.cli.table import Column, table
from rq_sched.client.outcomes import failed, value_of
from rq_sched.errors import InvalidValue, TaskNotFinal, TaskNotFound
from rq_sched.model.arrays import first_of, size
from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo

BATCH = 500
"""Tasks asked for in one go."""


def not_found(session: Invocation, task_id: str) -> int:
    """Report an unknown id on standard error, and go on; returns the exit code."""
    error = TaskNotFound.of(task_id, session.space)
    print_error(error.code, str(error), as_json=session.json, **({"task_id": task_id} if session.json else {}))
    return error.exit_status


def infos(session: Invocation, ids: Sequence[str]) -> Iterator[tuple[str, TaskInfo | None]]:
    """Each id with what is known of it, in batches."""
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        yield from zip(some, session.run(session.store.status(some)), strict=True)


def call_text(info: TaskInfo) -> str:
    """What it runs, for a table, behind its name if it has one; of an array how many times it is left to be run:
    ``999,983 × pkg.mod:func(1)``."""
    text = show.call(info.function, info.args, info.kwargs, limit=80)
    text = f"{info.name}: {text}" if info.name else text
    return text if info.elements is None else f"{info.elements['waiting']:,} × {text}"


def state_text(info: TaskInfo) -> str:
    """``pending``, ``pending (no_fit_now)``, ``failed (timeout)``."""
    return f"{info.state} ({info.reason})" if info.reason else str(info.state)


@command("status")
@task_ids
@click.pass_obj
def status_command(session: Invocation, task_ids: Sequence[str]) -> int:
    """Show everything known of tasks; of several, those that failed come first."""
    code = 0
    known: list[TaskInfo] = []
    for task_id, info in infos(session, list(dict.fromkeys(task_ids))):
        if info is None:
            code = not_found(session, task_id)
        elif session.json:
            show.json_line(info.to_dict())
        else:
            known.append(info)
    for number, info in enumerate(sorted(known, key=lambda info: info.state is not State.FAILED)):
        if number:
            show.line()
        _print_status(info)
    return code


def _print_status(info: TaskInfo) -> None:
    show.heading(info.task_id, state_text(info))
    show.pairs((name, value) for name, value in _status_pairs(info) if value)


def _status_pairs(info: TaskInfo) -> Iterator[tuple[str, str]]:
    """What a person wants to know, most important first; empty values are left out."""
    yield "name", info.name or ""
    yield "tags", ", ".join(f"{name}={text}" for name, text in info.tags.items())
    yield "runs", show.call(info.function, info.args, info.kwargs)
    yield "folder", info.chdir or (f"{info.folder}, if its node allows that" if info.folder else "")
    yield "environment", ", ".join(f"{name}={text}" for name, text in info.env.items())
    yield "input", show.count(len(info.stdin), "byte") if isinstance(info.stdin, bytes) else info.stdin or ""
    yield "output", info.output_path or ""
    yield "errors", info.error_path or ""
    if info.array is not None:
        yield "array", f"{info.array}: {show.count(size(info.array), 'element')}"
    yield "elements", show.elements(info.elements or {})
    yield "priority", str(info.priority)
    yield "needs", _needs_text(info)
    if info.state in (State.ASSIGNED, State.RUNNING) and info.array is None:
        yield "allocated", show.needs(info.cpu_allocated, info.memory_allocated)
    yield "node", info.node_id or ""
    yield "attempt", _attempt_text(info)
    yield "suspect", "it must have a whole node to itself before it may fail as poison" if info.suspect else ""
    yield "refused by", ", ".join(place.partition(":")[0] for place in info.refused)
    yield "time limit", show.duration(info.time_limit) if info.time_limit else ""
    yield "preemptible", "yes" if info.preemptible else ""
    yield "deadline", show.clock(info.expires_at) if info.expires_at else ""
    yield "after", _after_text(info)
    yield "elastic", info.elastic if info.elastic != "cpu" else ""
    yield "submitted", show.clock(info.submitted_at)
    yield "scheduled", _later(info.scheduled_at, info.submitted_at, "after {} of waiting")
    yield "started", show.clock(info.started_at) if info.started_at else ""
    yield "finished", _later(info.finished_at, info.started_at, "after {} of running")
    yield "progress", f"{info.progress:.0%}" if info.progress is not None else ""
    yield "exit code", "" if info.exit_code is None else str(info.exit_code)
    if info.state is State.COMPLETED and info.array is None:
        yield "result", show.value(info.result, limit=1000)
    yield "error", (info.error or "").rstrip()


def _needs_text(info: TaskInfo) -> str:
    text = show.needs(info.cpu_needed, info.memory_needed, info.require, info.resources, info.limits)
    if (info.max_cpu_needed, info.max_memory_needed) != (info.cpu_needed, info.memory_needed):
        text += f"; may grow to {show.needs(info.max_cpu_needed, info.max_memory_needed)}"
    return text


def _after_text(info: TaskInfo) -> str:
    if info.after is None:
        return ""
    names = ", ".join(info.after) or "more tasks than stand in its record"
    return names + (f" ({info.awaited:,} to come)" if info.state is State.WAITING else "")


def _attempt_text(info: TaskInfo) -> str:
    used = [f"{info.attempt}"]
    if info.retries:
        used.append(f"{info.retries_left} of {show.count(info.retries, 'retry', 'retries')} left")
    if info.crashes:
        used.append(f"{info.crashes} of {show.count(info.crash_limit, 'crash', 'crashes')}")
    return ", ".join(used) if info.attempt else ""


def _later(then: float | None, before: float | None, phrase: str) -> str:
    if then is None:
        return ""
    waited = f", {phrase.format(show.duration(then - before))}" if before is not None and then >= before else ""
    return show.clock(then) + waited


@command("list")
@click.option("--array", type=TASK_ID, help="Only elements of this array, by their indexes.")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only tasks in this state.")
@click.option("--node", type=NODE_ID, help="Only tasks on this node.")
@click.option("--priority", type=PRIORITY, help="Only tasks of this priority.")
@tag_option("Only tasks with this tag; may be repeated.")
@click.option("-n", "--limit", type=Limit(1), default=50, show_default=True, help="At most so many.")
@click.pass_obj
def list_command(
    session: Invocation,
    array: str | None,
    state: str | None,
    node: str | None,
    priority: int | None,
    tag: Mapping[str, str],
    limit: int,
) -> None:
    """List tasks: pending ones in their order, finished ones newest first.

    What is left of an array is one line, `N × ...`; its elements are lines of their own once they run.
    """
    from rq_sched.store.lists import SCAN_LIMIT

    which: Any = {"state": State(state) if state else None, "node": node, "priority": priority, "tags": tag}
    which["limit"] = limit
    store = session.store
    found = session.run(store.list_tasks(**which) if array is None else store.list_elements(array, **which))
    if session.json:
        for info in found.tasks:
            show.json_line(info.to_dict())
    elif found.tasks:
        _print_list(found.tasks)
    else:
        show.line("no such tasks" if array or state or node or tag or priority is not None else "no tasks")
    sys.stdout.flush()  # what is missing is told after it
    if found.more:
        print_warning(
            f"there are more than these {show.count(limit, 'task')}: --limit shows more", as_json=session.json
        )
    elif found.gave_up:
        print_warning(
            f"there may be more: --node, --priority and --tag look only at the first {SCAN_LIMIT:,} waiting tasks "
            f"and at the last {SCAN_LIMIT:,} that have ended",
            as_json=session.json,
        )


def _print_list(found: Sequence[TaskInfo]) -> None:
    columns = [
        Column("TASK"), Column("STATE", state=True), Column("PRIO", right=True, rank=4),
        Column("CPU", right=True, rank=3), Column("MEMORY", right=True, rank=3), Column("NODE"),
        Column("AGE", right=True, rank=2), Column("RUNS", cut=True, rank=1),
    ]  # fmt: skip
    table(columns, (_list_row(info) for info in found))


def _list_row(info: TaskInfo) -> tuple[str, ...]:
    memory = show.format_memory(info.memory_needed)
    where = info.node_id if info.state not in (State.PENDING, State.WAITING, State.DELAYED, State.HELD) else None
    what = call_text(info)
    return (
        info.task_id, state_text(info), str(info.priority), str(info.cpu_needed), memory, where or "-",
        show.age(info.submitted_at), what,
    )  # fmt: skip


@command("result")
@one_task_id
@click.pass_obj
def result_command(session: Invocation, task_id: str) -> None:
    """Print what a task returned (of a command: its exit code)."""
    info = session.run(session.store.result(task_id))
    print_result(session, info)


def ask_an_element(info: TaskInfo, why: str, command: str) -> None:
    """Refuse what only the elements of an array have.  Raises: InvalidValue."""
    if info.array is not None:
        element = first_of(info.task_id, info.array)
        raise InvalidValue(f"{info.task_id} is an array and {why}, such as `rq-sched {command} {element}`")


def print_result(session: Invocation, info: TaskInfo) -> None:
    """The value on standard output.

    Raises:
        TaskNotFinal, TaskFailed: there is none.
        InvalidValue: it is an array.
        UnreadableValue: what stands in Redis is no result.
    """
    ask_an_element(info, "has no result: its elements have", "result")
    if not info.state.final:
        raise TaskNotFinal(
            f"{info.task_id} is {state_text(info)}: it has no result yet (`rq-sched wait {info.task_id}`)"
        )
    if info.state is not State.COMPLETED:
        raise failed(info, failure_text(info))
    value = value_of(info)
    if session.json:
        show.json_line({"task_id": info.task_id, "state": info.state, "result": value})
    else:
        show.line(show.value(value))


def failure_text(info: TaskInfo) -> str:
    """Why a task has no result: a line, and the error that it left."""
    where = f" on {info.node_id}" if info.node_id else ""
    text = f"{info.task_id} {state_text(info)}{where}"
    error = (info.error or "").rstrip()
    if not error:
        return text if info.exit_code is None else f"{text}: exit code {info.exit_code}"
    return f"{text}: {error}" if "\n" not in error else f"{text}:\n{error}"
