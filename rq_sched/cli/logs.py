"""``rq-sched logs``: what a task wrote, once or while it runs."""

from __future__ import annotations

import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Callable

import click

from rq_sched.cli import show
from rq_sched.cli.follow import patiently
from rq_sched.cli.look import ask_an_element, not_found
from rq_sched.cli.options import Invocation, command, one_task_id
from rq_sched.errors import TaskNotFound
from rq_sched.model.output import AttemptMark, Cut, Reader, StreamMark, behind, length_of

FOLLOW_SECONDS = 0.2


@command("logs")
@one_task_id
@click.option("-f", "--follow", is_flag=True, help="Go on until the task is final.")
@click.option("--raw", is_flag=True, help="The bytes as they came, terminal codes included.")
@click.pass_obj
def logs_command(session: Invocation, task_id: str, follow: bool, raw: bool) -> int:
    """Print what a task wrote, output and errors as they came: at least the last 64 KiB (--log-limit)."""
    try:
        ask_an_element(session.run(session.store.result(task_id)), "writes nothing: its elements do", "logs")
    except TaskNotFound:
        return not_found(session, task_id)
    printer = Printer(session, task_id, raw)
    log = LogReader(lambda offset: patiently(session, lambda: session.store.log_from(task_id, offset)))
    while True:
        (state,) = patiently(
            session, lambda: session.store.states([task_id])
        )  # before the log: so nothing written last is missed
        if state is None:
            printer.end()
            return not_found(session, task_id)
        piece = log.read()
        printer.write(piece)
        if not follow or state.final:
            printer.end()
            return 0
        if not piece:
            time.sleep(FOLLOW_SECONDS)


class LogReader:
    """What comes new at the end of a log of which only the end is kept.

    Parameters:
        fetch: the log from an offset on, and then its first bytes.
    """

    def __init__(self, fetch: Callable[[int], tuple[bytes, bytes]]) -> None:
        self._fetch = fetch
        self._head = b""
        self._offset = 0
        self._counter = Reader()
        self._seen = 0  # bytes that the task has written, as far as they were seen

    def read(self) -> bytes:
        """What was written since the last call."""
        new, head = self._fetch(self._offset)
        if head.startswith(self._head):
            self._offset += len(new)
        else:  # its beginning was dropped
            whole, head = self._fetch(0)
            self._offset, new = len(whole), behind(whole, self._seen)
        self._head = head
        self._seen += length_of(self._counter.feed(new))
        return new


class Printer:
    """Prints pieces of output as they come: escaped but for carriage returns (a progress bar looks as it should), as
    JSON objects a line, or raw. Where something was cut, or another attempt begins, a line says so."""

    def __init__(self, session: Invocation, task_id: str, raw: bool) -> None:
        self.as_json = session.json
        self.task_id = task_id
        self.raw = raw and not session.json
        self._reader = Reader()
        self._attempt = 1
        self._cut = 0  # bytes that are missing before what comes next
        self._begun = b""
        self._decoder = getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""  # a carriage return that may be half of the end of a line
        self._in_line = False

    def write(self, piece: bytes) -> None:
        for part in self._reader.feed(piece):
            self._part(part)
        sys.stdout.flush()

    def end(self) -> None:
        """Print a last line that lacks its end."""
        if rest := self._reader.remainder():
            self._part(rest)
        self._end_line()

    def _part(self, part: bytes | Cut | AttemptMark | StreamMark) -> None:
        if isinstance(part, StreamMark):
            return
        if isinstance(part, bytes):
            if self.raw:
                sys.stdout.buffer.write(part)
            elif self.as_json:
                *whole, self._begun = (self._begun + part).split(b"\n")
                for line in whole:
                    self._object(line)
            else:
                self._text(self._decoder.decode(part))
            return
        self._end_line()
        if isinstance(part, AttemptMark):
            self._attempt = part.number
        else:
            self._cut += part.number
        if not self.as_json and not self.raw:
            show.line(str(part))

    def _end_line(self) -> None:
        if self.as_json and self._begun:
            self._object(self._begun)
            self._begun = b""
        if not self.as_json and not self.raw:
            self._text(self._decoder.decode(b"", final=True))
            if self._in_line:
                sys.stdout.write(f"{self._held}\n")
            self._in_line, self._held = False, ""

    def _text(self, text: str) -> None:
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r")
        if text:
            sys.stdout.write(show.safe(text, lines=True, returns=True))
            self._in_line = not text.endswith("\n")

    def _object(self, line: bytes) -> None:
        shown = line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
        show.json_line({"task_id": self.task_id, "line": shown, "attempt": self._attempt, "cut": self._cut})
        self._cut = 0
