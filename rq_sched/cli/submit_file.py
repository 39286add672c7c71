"""``submit --from-file``: JSON Lines, streamed in constant memory.

Lines are read as they come and submitted in batches: when a batch is full, and at the latest ``FLUSH_SECONDS`` after
its first line came, so that a program may write its tasks into a pipe one by one. A bad line is reported with its
number; the good ones around it are submitted.
"""

from __future__ import annotations

import json
import os
import select
import stat
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from io import FileIO
from typing import NoReturn

from rq_sched.cli import show
from rq_sched.cli.bar import progress_bar
from rq_sched.cli.failure import print_error
from rq_sched.cli.options import Session
from rq_sched.cli.submit import warn_if_stuck
from rq_sched.errors import InvalidValue, RedisUnavailable, RqSchedError, TaskExists
from rq_sched.task import TaskRequest, request_from_json

FLUSH_SECONDS = 0.05
BATCH_TASKS = 2_000
BATCH_BYTES = 4 * 1024 * 1024
READ_BYTES = 256 * 1024
MAX_LINE = 4 * 1024 * 1024
"""Bytes of a line: 256 KiB of arguments, each byte escaped as in ``\\u0000``, and room to spare."""


class LineReader:
    """The lines of a file descriptor, without waiting longer than asked."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.bytes = 0
        self._begun: list[bytes] = []
        self._begun_bytes = 0

    def read(self, timeout: float | None) -> list[bytes] | None:
        """The lines that are there, waited for at most ``timeout`` seconds (None: for ever); None at the end.

        A line longer than ``MAX_LINE`` comes cut, one byte longer than that.
        """
        if not select.select([self.descriptor], [], [], timeout)[0]:
            return []
        chunk = os.read(self.descriptor, READ_BYTES)
        self.bytes += len(chunk)
        if not chunk:
            if not self._begun:
                return None
            chunk = b"\n"  # the last line may lack its end
        first, *rest = chunk.split(b"\n")
        self._keep(first)
        if not rest:
            return []
        whole = b"".join(self._begun)
        self._begun, self._begun_bytes = [], 0
        last = rest.pop()
        if last:
            self._keep(last)
        return [whole, *rest]

    def _keep(self, piece: bytes) -> None:
        room = MAX_LINE + 1 - self._begun_bytes
        if room > 0 and piece:
            self._begun.append(piece[:room])
            self._begun_bytes += len(self._begun[-1])


class Submission:
    """One file on its way into Redis.

    Parameters:
        on_accepted: called with each batch of ids that Redis has.
        on_refused: called with the line number and the reason of each line that isn't taken.
    """

    def __init__(
        self,
        session: Session,
        on_accepted: Callable[[list[TaskRequest]], None],
        on_refused: Callable[[int, RqSchedError], None],
    ) -> None:
        self.session = session
        self.on_accepted = on_accepted
        self.on_refused = on_refused
        self.accepted = 0
        self.refused = 0
        self.line = 0
        self.flushed_line = 0
        self._batch: list[tuple[int, TaskRequest]] = []
        self._batch_bytes = 0
        self._since = 0.0

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
        try:
            outcomes = self.session.run(self.session.store.submit([request for _, request in batch]))
        except RedisUnavailable as error:
            self._lost(batch, error)
        taken = []
        for (number, request), outcome in zip(batch, outcomes, strict=True):
            if outcome == "conflict":
                self._refuse(number, TaskExists(f"the id {request.task_id} is taken by another request"))
            else:
                taken.append(request)
        self.accepted += len(taken)
        self.flushed_line = batch[-1][0]
        self.on_accepted(taken)

    def _lost(self, batch: list[tuple[int, TaskRequest]], error: RedisUnavailable) -> NoReturn:
        raise type(error)(
            f"{error}; {show.count(self.accepted, 'task')} submitted, up to line {self.flushed_line}; of the lines "
            f"{batch[0][0]} to {batch[-1][0]} some may be (submit them again: with a task_id nothing runs twice)"
        ) from error

    def _refuse(self, number: int, error: RqSchedError) -> None:
        self.refused += 1
        self.on_refused(number, error)


def read_line(text: bytes) -> TaskRequest:
    """The request in one line, checked as far as it can be without Redis.

    Raises:
        UsageError: with the reason.
    """
    if len(text) > MAX_LINE:
        raise InvalidValue(f"the line is longer than {MAX_LINE // 1024**2} MiB")
    try:
        data = json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise InvalidValue("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidValue(f"broken JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"broken JSON: {error}") from None
    request = request_from_json(data)
    request.pack_arguments()  # here, and not among the others of the batch, so that only this line is refused
    return request


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def submit_file(session: Session, path: str, *, wait: bool, quiet: bool) -> int:
    """Submit the lines of a file (``-``: standard input); returns the exit code: 1 if a line was refused."""
    ids: list[str] = []
    lines = session.json or quiet  # something is printed for each task
    with ExitStack() as stack:
        descriptor = 0 if path == "-" else stack.enter_context(_open(path)).fileno()
        reader = LineReader(descriptor)
        bar = stack.enter_context(
            progress_bar("submitting", _size(descriptor), visible=not lines or not _same_screen())
        )

        def accepted(requests: list[TaskRequest]) -> None:
            if session.json:
                for request in requests:
                    state = "delayed" if request.delay else "pending"
                    show.json_line({"task_id": request.task_id, "state": state})
            elif quiet:
                for request in requests:
                    show.line(request.task_id or "")
            if lines:
                sys.stdout.flush()
            if wait:
                ids.extend(request.task_id or "" for request in requests)
            if submission.accepted == len(requests):  # the first that got through
                _warn_once(session, requests)

        def refused(number: int, error: RqSchedError) -> None:
            if session.json:
                print_error(error.code, str(error), as_json=True, line=number)
            else:
                print_error(error.code, f"line {number}: {error}", as_json=False)

        submission = Submission(session, accepted, refused)
        submission.run(reader, lambda: bar(reader.bytes, show.count(submission.accepted, "task")))
    if not lines:
        bad = f"; {show.count(submission.refused, 'line')} refused" if submission.refused else ""
        show.line(f"submitted {show.count(submission.accepted, 'task')}{bad}")
    code = 1 if submission.refused else 0
    if wait:
        from rq_sched.cli.wait import wait_many

        code = wait_many(session, ids, timeout=None, quiet=lines) or code
    return code


def _warn_once(session: Session, requests: list[TaskRequest]) -> None:
    if requests:
        (info,) = session.run(session.store.status([requests[0].task_id or ""]))
        if info is not None and info.reason == "no_nodes":
            warn_if_stuck(session, info)


def _open(path: str) -> FileIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise InvalidValue(f"--from-file {path}: {error.strerror}") from None


def _size(descriptor: int) -> int | None:
    """Bytes of a file; None of a pipe, which has no size."""
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _same_screen() -> bool:
    """Whether a bar would stand among the lines of standard output."""
    return sys.stdout.isatty()
