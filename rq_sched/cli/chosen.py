"""Which tasks a command is for: those that are named, or all in a state or with tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from rq_sched.cli import show
from rq_sched.cli.bar import progress_bar
from rq_sched.cli.failure import print_error
from rq_sched.cli.look import not_found
from rq_sched.cli.options import TASK_ID, Invocation, tag_option
from rq_sched.client.steps import Deadline, batches
from rq_sched.errors import RqSchedError, TaskFinal, TaskNotFound, UsageError, WrongState
from rq_sched.model.states import State
from rq_sched.store.selection import BATCH

if TYPE_CHECKING:
    from rq_sched.link import Op

Command = Callable[..., Any]
MOVED_ON = (TaskNotFound, TaskFinal, WrongState)
"""What is said of a task that has left its state before its turn came."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tasks that a command is for: ``task_ids``; where none are named, all in ``states`` that have ``tags``."""

    task_ids: Sequence[str]
    states: Collection[State] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> bool:
        return bool(self.task_ids)

    def batches(self, session: Invocation) -> Iterator[list[str]]:
        """The ids, each once, some at a time."""
        if self.named:
            return batches(dict.fromkeys(self.task_ids), BATCH)
        return session.taker.stream(session.flows.selected(self.states, self.tags, Deadline(None)))


def chosen_tasks(*states: State, ids: click.ParamType[Any] = TASK_ID) -> Callable[[Command], Command]:
    """``[ID]...``, or ``--state`` with one of these, or ``--tag``; the command gets them as ``chosen``.

    Parameters:
        ids: how an id is read.
    """

    def add(function: Command) -> Command:
        @wraps(function)
        def chosen_by(
            *args: Any, task_ids: Sequence[str], state: str | None, tag: Mapping[str, str], **more: Any
        ) -> Any:
            if bool(task_ids) == bool(state or tag):
                raise UsageError("give either ids, or with --state and --tag which tasks")
            chosen = Chosen(task_ids, (State(state),) if state else states, tag)
            return function(*args, chosen=chosen, **more)

        choice = click.Choice([state.value for state in states])
        with_choice: Command = chosen_by
        for option in (
            tag_option("Instead of ids: all tasks with this tag; may be repeated."),
            click.option("--state", type=choice, help="Instead of ids: all tasks in this state."),
            click.argument("task_ids", metavar="[ID]...", nargs=-1, type=ids),
        ):
            with_choice = option(with_choice)
        return with_choice

    return add


def refused(session: Invocation, task_id: str, error: RqSchedError) -> int:
    """Print why something can't be done with a task that was named; returns the exit code."""
    if isinstance(error, TaskNotFound):
        return not_found(session, task_id)
    print_error(error.code, str(error), as_json=session.json)
    return error.exit_status


class Tally:
    """What became of many tasks, counted. What can't be done with some of them is told once for each kind."""

    def __init__(self) -> None:
        self._done: Counter[str] = Counter()
        self._moved_on = 0
        self._refused: Counter[str] = Counter()
        self._first: dict[str, RqSchedError] = {}

    @property
    def done(self) -> int:
        return self._done.total()

    def add(self, what: str) -> None:
        """One more was done so."""
        self._done[what] += 1

    def move_on(self) -> None:
        """One more had left its state before its turn came."""
        self._moved_on += 1

    def refuse(self, error: RqSchedError) -> None:
        """It couldn't be done with one more."""
        if isinstance(error, MOVED_ON):
            self.move_on()
        else:
            self._refused[error.code] += 1
            self._first.setdefault(error.code, error)

    def report(self, session: Invocation, usual: str) -> int:
        """Print the numbers, then what was refused; returns the exit code. ``usual``: what is said of none."""
        numbers = self._done or {usual: 0}
        if session.json:
            named = {name.replace(" ", "_"): number for name, number in numbers.items()}
            show.json_line(named | {"moved_on": self._moved_on})
        else:
            parts = [f"{show.count(number, 'task')} {name}" for name, number in self._done.items()]
            if self._moved_on:
                parts.append(f"{show.count(self._moved_on, 'task')} had moved on")
            show.paragraph(", ".join(parts) or f"0 tasks {usual}")
        for code, error in self._first.items():
            others = self._refused[code] - 1
            more = f" (and so with {show.count(others, 'other task')})" if others else ""
            print_error(code, f"{error}{more}", as_json=session.json)
        return max((error.exit_status for error in self._first.values()), default=0)


def change_all(session: Invocation, chosen: Chosen, change: Callable[[str], Op[object]], done: str) -> int:
    """Change all tasks that are chosen, and say how many; returns the exit code.

    Parameters:
        change: makes the operation; made again, it must know itself.
        done: what they are then, as in `3 tasks requeued`.
    """
    tally = Tally()
    with progress_bar(done, None) as update:
        for task_ids in chosen.batches(session):
            answers = session.taker.do(session.flows.each(task_ids, change, Deadline(None)))
            for answer in answers.values():
                if isinstance(answer, RqSchedError):
                    tally.refuse(answer)
                else:
                    tally.add(done)
            update(tally.done, show.count(tally.done, "task"))
    return tally.report(session, done)
