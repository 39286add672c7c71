"""``submit --from-file``: JSON Lines, streamed in constant memory.

Lines are read as they come and submitted in batches: when a batch is full, and at the latest ``FLUSH_SECONDS`` after
its first line came, so that a program may write its tasks into a pipe one by one. A bad line is reported with its
number; the good ones around it are submitted.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from io import FileIO
from typing import Any, NoReturn

from rq_sched.cli import show
from rq_sched.cli.bar import progress_bar
from rq_sched.cli.failure import print_error
from rq_sched.cli.follow import patiently
from rq_sched.cli.lines import LineReader, read_line
from rq_sched.cli.misfits import Misfits
from rq_sched.cli.missing import warn_if_stuck
from rq_sched.cli.options import Invocation
from rq_sched.client.in_order import Asked, InOrder
from rq_sched.client.outcomes import unaccepted
from rq_sched.errors import DurabilityNotReached, InvalidValue, LimitUnknown, RedisUnavailable, RqSchedError, TaskExists
from rq_sched.model.arrays import size
from rq_sched.model.fit import Wish, fit_counts
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.store.limit_reads import NEVER_SET
from rq_sched.store.submit import ACCEPTED

FLUSH_SECONDS = 0.05
BATCH_TASKS = 2_000
BATCH_BYTES = 4 * 1024 * 1024
NAMED = 10
"""Sizes that a dry run names at most."""

Ask = Callable[[Callable[[], Any]], Any]
"""Carries out the operation that a function makes."""


class Submission:
    """One file on its way into Redis.

    Parameters:
        ask: carries an operation out that a function makes.
        report: is told what became of the lines.
        rehearsal: with ``--dry-run`` it gets the requests, and Redis doesn't.
    """

    def __init__(self, session: Invocation, ask: Ask, report: Tally, rehearsal: Rehearsal | None = None) -> None:
        self.session = session
        self.ask = ask
        self.report = report
        self.rehearsal = rehearsal
        self.accepted = 0
        self.refused = 0
        self.not_safe = 0
        self.line = 0
        self.flushed_line = 0
        self._batch: list[tuple[int, TaskRequest]] = []
        self._batch_bytes = 0
        self._since = 0.0
        self._row = InOrder()

    def run(self, reader: LineReader, progress: Callable[[], None]) -> None:
        """Submit all lines.

        Raises:
            RedisUnavailable: Redis was lost on the way; the message says how far it came.
        """
        while (lines := reader.read(self._patience())) is not None:
            for text in lines:
                self._take(text)
            if self._patience() == 0:
                self._flush()
            progress()
        self._flush()
        self._end()
        progress()

    def _patience(self) -> float | None:
        """Seconds until what is collected must be flushed; None where there is nothing."""
        if not self._batch:
            return None
        return max(0.0, self._since + FLUSH_SECONDS - time.monotonic())

    def _take(self, text: bytes) -> None:
        self.line += 1
        if not text.strip():
            return
        try:
            request = read_line(text)
        except RqSchedError as error:
            self._refuse(self.line, error)
            return
        if not self._batch:
            self._since = time.monotonic()
        self._batch.append((self.line, request))
        self._batch_bytes += len(text)
        if len(self._batch) >= BATCH_TASKS or self._batch_bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if not batch:
            return
        if self.rehearsal is not None:
            self.accepted += tasks_in(request for _, request in batch)
            self.flushed_line = batch[-1][0]
            self.rehearsal.take([request for _, request in batch])
            return
        self._submit(self._row.add([request for _, request in batch], [number for number, _ in batch]))
        self.flushed_line = batch[-1][0]
        self._tell(self._row.settled())

    def _end(self) -> None:
        """There are no more lines: what still waits for tasks that there aren't is refused, unless they have come from
        elsewhere."""
        if rest := self._row.rest():
            self._submit(rest)
        self._tell(self._row.all())

    def _submit(self, asked: list[Asked]) -> None:
        while asked:
            requests = [one.request for one in asked]
            try:
                outcomes = self.ask(partial(self.session.store.submit, requests))
            except RedisUnavailable as error:
                self._lost(asked, error)
            except LimitUnknown:
                asked = self._without_unknown_limits(asked)
                continue
            except InvalidValue as error:  # some wait for each other: the message says which
                waiting = [one for one in asked if one.request.after]
                for one in waiting:
                    self._refuse(one.number, error)
                self._row.drop(waiting)
                asked = [one for one in asked if not one.request.after]
                continue
            except DurabilityNotReached as error:
                outcomes = error.outcomes
                self.not_safe += len(error.task_ids)
                lines = f"lines {asked[0].number} to {asked[-1].number}"
                print_error(error.code, f"{lines}: {error}", as_json=self.session.json)
            asked = self._row.settle(asked, outcomes)

    def _without_unknown_limits(self, asked: list[Asked]) -> list[Asked]:
        """The others: those that ask for a limit that was never set are refused."""
        names = sorted({name for one in asked for name in one.request.limits or ()})
        known = self.ask(lambda: self.session.store.limit_standings(names))
        wrong: list[Asked] = []
        for one in asked:
            for name in one.request.limits or ():
                if known[name].most == NEVER_SET:
                    hint = f"`rq-sched limits` lists them, `rq-sched limit {name} 20` sets it"
                    self._refuse(one.number, LimitUnknown(f"there is no limit {name}: {hint}"))
                    wrong.append(one)
                    break
        self._row.drop(wrong)
        return [one for one in asked if one not in wrong]

    def _tell(self, settled: list[Asked]) -> None:
        new: list[tuple[int, TaskRequest]] = []
        same: list[tuple[int, TaskRequest]] = []
        for one in settled:
            number, request, outcome = one.number, one.request, one.outcome
            if outcome == "conflict":
                self._refuse(number, TaskExists(f"the id {request.task_id} is taken by another request"))
            elif outcome not in ACCEPTED:
                self._refuse(number, unaccepted(outcome, [str(request.task_id)], 1))
            else:
                (new if outcome == "new" else same).append((number, request))
        self.accepted += tasks_in(request for _, request in (*new, *same))
        self.report.accepted(new, same)

    def _lost(self, asked: list[Asked], error: RedisUnavailable) -> NoReturn:
        raise type(error)(
            f"{error}; {show.count(self.accepted, 'task')} submitted, up to line {self.flushed_line}; of the lines "
            f"{asked[0].number} to {asked[-1].number} some may be (do it again: with a task_id nothing runs twice)"
        ) from error

    def _refuse(self, number: int, error: RqSchedError) -> None:
        self.refused += 1
        self.report.refused(number, error)


def tasks_in(requests: Iterable[TaskRequest]) -> int:
    """How many tasks are asked for: of an array its elements."""
    return sum(1 if request.array is None else size(str(request.array)) for request in requests)


class Tally:
    """Tells of the lines of a file: a JSON object or an id for each task, or only the bad ones and a sum."""

    def __init__(self, session: Invocation, ask: Ask, *, quiet: bool, keep_ids: bool) -> None:
        self.session = session
        self.ask = ask
        self.misfits = Misfits(session)
        self.quiet = quiet
        self.each = session.json or quiet  # something is printed for each task
        self.ids: list[str] | None = [] if keep_ids else None
        self._looked = False

    def accepted(self, new: Sequence[tuple[int, TaskRequest]], same: Sequence[tuple[int, TaskRequest]]) -> None:
        """Redis has these, each with its line: new ones, and such as it had before."""
        requests = [request for _, request in (*new, *same)]
        if self.ids is not None:
            self.ids += [str(request.task_id) for request in requests]
        if self.session.json:
            before = [str(request.task_id) for _, request in same]
            states = [
                *(_first_state(request) for _, request in new),
                *self.ask(lambda: self.session.store.states(before)),
            ]
            for request, state in zip(requests, states, strict=True):
                show.json_line({"task_id": request.task_id, "state": state})
        elif self.quiet:
            for request in requests:
                show.line(str(request.task_id))
        if self.each:
            sys.stdout.flush()
        if new and not self._looked:
            self._looked = True
            self._warn_where_no_node_is(new[0][1])
        self.misfits.look(new)

    def refused(self, number: int, error: RqSchedError) -> None:
        """A line that isn't taken."""
        if self.session.json:
            print_error(error.code, str(error), as_json=True, line=number)
        else:
            print_error(error.code, f"line {number}: {error}", as_json=False)

    def sum_up(self, submission: Submission) -> None:
        """What all came to, for people."""
        if not self.each:
            bad = f"; {show.count(submission.refused, 'line')} refused" if submission.refused else ""
            show.paragraph(f"submitted {show.count(submission.accepted, 'task')}{bad}")
        sys.stdout.flush()
        self.misfits.tell()

    def _warn_where_no_node_is(self, request: TaskRequest) -> None:
        (info,) = self.ask(lambda: self.session.store.status([str(request.task_id)]))
        if info is not None and info.reason == "no_nodes":
            warn_if_stuck(self.session, info)


class Rehearsal:
    """``--dry-run`` of a file: counts what would become of its tasks, by needs; memory grows with those only."""

    def __init__(self, session: Invocation) -> None:
        self.session = session
        self.rooms = session.run(session.store.rooms())
        self.needs: Counter[Wish] = Counter()
        self.delayed = 0

    def take(self, requests: Sequence[TaskRequest]) -> None:
        for request in requests:
            tasks = tasks_in([request])
            self.needs[Wish.of(request)] += tasks
            self.delayed += tasks if request.delay else 0

    def sum_up(self, refused: int) -> None:
        """What all would come to: as a JSON object, or for people."""
        tasks = self.needs.total()
        infeasible = {
            wish: number
            for wish, number in self.needs.items()
            if self.rooms and not fit_counts(wish, self.rooms)["fits_empty"]
        }
        if self.session.json:
            found = {"tasks": tasks, "refused": refused, "delayed": self.delayed, "classes": len(self.needs),
                     "infeasible": sum(infeasible.values()), "nodes": len(self.rooms), "dry_run": True}  # fmt: skip
            show.json_line(found)
            return
        bad = f"; {show.count(refused, 'line')} refused" if refused else ""
        show.paragraph(f"{show.count(tasks, 'task')} could be submitted{bad} (--dry-run: nothing was)")
        if not self.rooms:
            show.paragraph("no node is up: they would wait until one is")
        for wish, number in sorted(infeasible.items(), reverse=True)[:NAMED]:
            verb = "needs" if number == 1 else "need"
            show.paragraph(f"no node could hold {show.count(number, 'task')} that {verb} {show.wish(wish)}")
        if len(infeasible) > NAMED:
            show.paragraph(f"... and {show.count(len(infeasible) - NAMED, 'more size')} that no node could hold")


def _first_state(request: TaskRequest) -> State:
    return State.WAITING if request.after else State.DELAYED if request.delay else State.PENDING


def submit_file(session: Invocation, path: str, *, wait: bool, quiet: bool, dry_run: bool = False) -> int:
    """Submit the lines of a file (``-``: standard input); returns the exit code: 1 if a line was refused.

    With ``dry_run`` they are only checked, and what has no node that could hold it is told.
    """
    ask: Ask = partial(patiently, session) if wait or path == "-" else lambda make: session.run(make())
    report = Tally(session, ask, quiet=quiet, keep_ids=wait)
    rehearsal = Rehearsal(session) if dry_run else None
    submission = Submission(session, ask, report, rehearsal)
    with ExitStack() as stack:
        descriptor = 0 if path == "-" else stack.enter_context(_open(path)).fileno()
        reader = LineReader(descriptor, "" if path == "-" else path)
        mixed = report.each and sys.stdout.isatty()  # a bar would stand among the lines
        bar = stack.enter_context(
            progress_bar("checking" if dry_run else "submitting", _size(descriptor), visible=not mixed)
        )
        try:
            submission.run(reader, lambda: bar(reader.bytes, show.count(submission.accepted, "task")))
        except KeyboardInterrupt:
            verb = "checked" if dry_run else "submitted"
            text = f"{show.count(submission.accepted, 'task')} {verb}, up to line {submission.flushed_line}"
            print_error("interrupted", text, as_json=session.json)
            raise
    if rehearsal is not None:
        rehearsal.sum_up(submission.refused)
    else:
        report.sum_up(submission)
    code = 1 if submission.refused else DurabilityNotReached.exit_status if submission.not_safe else 0
    if report.ids is not None:
        from rq_sched.cli.wait import wait_known

        code = wait_known(session, list(dict.fromkeys(report.ids)), quiet=report.each) or code
    return code


def _open(path: str) -> FileIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise InvalidValue(f"--from-file {path}: {error.strerror}") from None


def _size(descriptor: int) -> int | None:
    """Bytes of a file; None of a pipe, which has no size."""
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
