"""``rq-sched logs``: what a task wrote, once or while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from rq_sched.cli import show
from rq_sched.cli.look import ask_an_element, not_found
from rq_sched.cli.options import Session, command, one_task_id
from rq_sched.errors import TaskNotFound

FOLLOW_SECONDS = 0.2
OVERLAP = 64
"""Bytes read again to see whether Redis still holds what was read before: it keeps only the end of the output."""
GAP = b"\n[... more was written than is kept ...]\n"


@command("logs")
@one_task_id
@click.option("-f", "--follow", is_flag=True, help="Go on until the task is final.")
@click.option("--raw", is_flag=True, help="The bytes as they came, terminal codes included.")
@click.pass_obj
def logs_command(session: Session, task_id: str, follow: bool, raw: bool) -> int:
    """Print what a task wrote: standard output and standard error as they came, at least the last 64 KiB."""
    try:
        ask_an_element(session.run(session.store.result(task_id)), "writes nothing: its elements do", "logs")
    except TaskNotFound:
        return not_found(session, task_id)
    printer = _Printer(session, task_id, raw)
    log = LogReader(lambda offset: session.run(session.store.log(task_id, offset)))
    while True:
        (state,) = session.run(session.store.states([task_id]))  # before the log: so nothing written last is missed
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
        fetch: the log from an offset on.
    """

    def __init__(self, fetch: Callable[[int], bytes]) -> None:
        self._fetch = fetch
        self._offset = 0
        self._tail = b""

    def read(self) -> bytes:
        """What was written since the last call."""
        piece = self._fetch(self._offset - len(self._tail))
        if piece.startswith(self._tail):
            return self._advance(self._offset, piece[len(self._tail) :])
        whole = self._fetch(0)  # the beginning was dropped: find the place again
        found = whole.rfind(self._tail)
        if found < 0:
            return GAP + self._advance(0, whole)
        place = found + len(self._tail)
        return self._advance(place, whole[place:])

    def _advance(self, offset: int, new: bytes) -> bytes:
        self._offset = offset + len(new)
        self._tail = (self._tail + new)[-OVERLAP:]
        return new


class _Printer:
    """Prints pieces of output by whole lines: escaped, as JSON objects, or raw."""

    def __init__(self, session: Session, task_id: str, raw: bool) -> None:
        self.as_json = session.json
        self.task_id = task_id
        self.raw = raw and not session.json
        self._begun = b""

    def write(self, piece: bytes) -> None:
        if self.raw:
            sys.stdout.buffer.write(piece)
        else:
            *whole, self._begun = (self._begun + piece).split(b"\n")
            for text in whole:
                self._line(text)
        sys.stdout.flush()

    def end(self) -> None:
        """Print a last line that lacks its end."""
        if self._begun:
            self._line(self._begun)
            self._begun = b""

    def _line(self, text: bytes) -> None:
        shown = text.removesuffix(b"\r").decode("utf-8", "backslashreplace")
        if self.as_json:
            show.json_line({"task_id": self.task_id, "line": shown})
        else:
            show.line(show.safe(shown, lines=True))
