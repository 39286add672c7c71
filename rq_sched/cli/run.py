"""``rq-sched run``: a task as if it ran here. What it writes is shown as it comes, and its exit code is ours."""

from __future__ import annotations

import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from rq_sched.cli import show, standard_input
from rq_sched.cli.failure import print_error, print_warning
from rq_sched.cli.follow import Awaited, Follower, patiently
from rq_sched.cli.logs import LogReader, Printer
from rq_sched.cli.look import failure_text
from rq_sched.cli.options import DURATION, Invocation
from rq_sched.cli.submit import SubmitCommand, given_options, request_of, submit_one, task_options
from rq_sched.errors import InvalidValue, TaskCancelled, TaskFailed, TaskNotFound
from rq_sched.model.output import ERROR, AttemptMark, Cut, Reader, StreamMark
from rq_sched.model.states import Reason, State
from rq_sched.model.task import DEFAULT_GRACE, TaskInfo

LOOK_SECONDS = 0.1
"""Seconds between two looks at what it has written."""
KEPT = 512 * 1024
"""Bytes of its output that the log keeps: more than usual, so that nothing is gone before it is shown."""
RATE = KEPT
"""Bytes a second that a command may write there: workers report twice a second, so half of what is kept at a time."""
SIGNALLED = 128
"""What a shell adds to the number of the signal that has ended a program."""


class RunCommand(SubmitCommand):
    """As ``submit``, for one task."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "-- CMD [ARG]... | TARGET [ARG]..."]


@click.command("run", cls=RunCommand)
@click.argument("words", nargs=-1, metavar="[TARGET [ARG]...]")
@task_options
@click.option("--signing-key-file", metavar="FILE", help="The secret with which the request is signed.")
@click.option("--grace", type=DURATION, default=DEFAULT_GRACE, metavar="SECONDS", show_default=True,
              help="What its processes have between SIGTERM and SIGKILL, at Ctrl-C.")  # fmt: skip
@click.pass_context
def run_command(
    ctx: click.Context, /, words: tuple[str, ...], signing_key_file: str | None, grace: float, **fields: Any
) -> int:
    """Run one task as if it ran here: show what it writes as it comes, and end with its exit code.

    \b
    rq-sched run -- ./job.sh --fast
    rq-sched run --cpu 8 --memory 16G -- make -j8
    rq-sched run pkg.mod:train data.csv epochs:=20

    Of a function, what it returns is printed at the end. Ctrl-C (also SIGTERM and SIGHUP) ends the task for good, and
    waits until its processes are gone; once more leaves at once. Standard input goes with the task if it is a file or
    a pipe.
    """
    session = ctx.ensure_object(Invocation)
    session.signing_key_file = signing_key_file
    given = {"log_limit": KEPT} | given_options(fields)
    if "array" in given:
        raise InvalidValue("run shows one task: `rq-sched submit --array` takes an array, `rq-sched wait` waits for it")
    if grace > 86_400:
        raise InvalidValue(f"--grace must be at most a day, not {grace:g} seconds")
    if given.get("stdin") == "-" or ("stdin" not in given and standard_input.is_given()):
        given["stdin"] = standard_input.read(as_json=session.json) or None
    request = request_of(list(words), ctx.meta.get("after"), given)
    request.hints = {**request.hints, "apart": RATE}
    with interruptions() as interrupted:
        info, _ = submit_one(session, request)
        shown = Output(session, info.task_id)
        return _outcome(session, _follow(session, shown, interrupted, grace), shown, interrupted)


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """The signals that have asked for an end: the first one is noted, a second one interrupts whatever is done."""
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow(session: Invocation, shown: Output, interrupted: list[int], grace: float) -> TaskInfo:
    """Show what the task writes until it has ended, or end it; its outcome."""
    task_id = shown.task_id
    awaited, ending = Awaited([task_id]), False
    session.flows.poll = LOOK_SECONDS
    try:
        for _ in Follower(session).ends(awaited):
            shown.go_on()
            if shown.nobody_reads():
                raise BrokenPipeError
            if interrupted and not ending:
                ending = True
                print_warning(f"ending {task_id} for good; once more leaves at once", as_json=session.json)
                _end(session, task_id, grace)
    except BrokenPipeError:  # nobody reads what it writes
        _end(session, task_id, grace)
        raise
    except KeyboardInterrupt:
        print_warning(f"not waited for any longer: `rq-sched status {task_id}`", as_json=session.json)
        raise
    if awaited.forgotten:
        raise TaskNotFound(
            f"{task_id} was forgotten before it was seen how it ended (settings keep_seconds, keep_tasks)"
        )
    shown.end()
    return patiently(session, lambda: session.store.result(task_id))


def _end(session: Invocation, task_id: str, grace: float) -> None:
    """It is told to stop, and isn't queued again."""
    cancel = session.flows.cancel_many([task_id], False, grace, "run was interrupted", wait=False, patience=None)
    session.taker.do(cancel)


def _outcome(session: Invocation, ended: TaskInfo, shown: Output, interrupted: list[int]) -> int:
    """Say how it ended, where its output doesn't; the exit code."""
    if session.json:
        show.json_line({"task_id": ended.task_id, "state": ended.state, "result": ended.result, "error": ended.error})
    if ended.state is State.COMPLETED:
        if not session.json and not ended.function.startswith("exec:") and ended.result is not None:
            show.line(show.value(ended.result))
        return shown.lost()
    if ended.state is State.CANCELLED:
        if interrupted:
            return SIGNALLED + interrupted[0]
        print_error(TaskCancelled.code, f"{ended.task_id} was cancelled", as_json=session.json)
        return TaskCancelled.exit_status
    if ended.reason != Reason.EXIT_CODE or (ended.exit_code or 0) > SIGNALLED:
        print_error(TaskFailed.code, failure_text(ended), as_json=session.json)
    return ended.exit_code or TaskFailed.exit_status


class Output:
    """What a task writes, shown here as it comes: its bytes as they are, or as JSON Lines."""

    def __init__(self, session: Invocation, task_id: str) -> None:
        self.task_id = task_id
        self._as_json = session.json
        self._log = LogReader(lambda offset: patiently(session, lambda: session.store.log_from(task_id, offset)))
        self._reader = Reader()
        self._printer = Printer(session, task_id, raw=False) if session.json else None
        self._stream = sys.stdout
        self._cut = 0

    def go_on(self) -> None:
        """Show what has come since."""
        piece = self._log.read()
        if self._printer is not None:
            self._printer.write(piece)
            return
        for part in self._reader.feed(piece):
            self._show(part)
        self._stream.flush()

    def end(self) -> None:
        """It has ended: the rest."""
        self.go_on()
        if self._printer is not None:
            self._printer.end()
        elif rest := self._reader.remainder():
            self._show(rest)
            self._stream.flush()

    def _show(self, part: bytes | Cut | AttemptMark | StreamMark) -> None:
        if isinstance(part, bytes):
            self._stream.buffer.write(part)
            return
        self._stream.flush()
        if isinstance(part, StreamMark):
            self._stream = sys.stderr if part.number == ERROR else sys.stdout
        elif isinstance(part, Cut):
            self._cut += part.number
        else:
            print_warning(f"{self.task_id} begins anew: attempt {part.number}", as_json=self._as_json)

    def nobody_reads(self) -> bool:
        """Whether standard output is a pipe whose other end is closed: said also while nothing is written."""
        ready = select.poll()
        ready.register(sys.stdout.fileno(), 0)
        return any(events & select.POLLERR for _, events in ready.poll(0))

    def lost(self) -> int:
        """Say what of it couldn't be shown; the exit code of a task that has ended well."""
        if not self._cut:
            return 0
        text = (
            f"{self._cut:,} bytes of the output of {self.task_id} came too fast to be shown here: have them written to "
            "a file on the node"
        )
        print_error("output_cut", text, as_json=self._as_json)
        return TaskFailed.exit_status
