"""How a command ends when it can't do what was asked: one line on standard error, and the exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import TextIO

import click

from rq_sched.cli.show import fold, safe, terminal_width
from rq_sched.errors import NotFound, RqSchedError, UsageError

INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports of a program that SIGINT or SIGPIPE has ended."""
HALF = 250
"""Characters of either end of a long message that are kept."""


def wants_json(args: list[str]) -> bool:
    """Whether ``--json`` is given. Looked up in the words themselves: the error may be in how they are parsed."""
    end = args.index("--") if "--" in args else len(args)
    return "--json" in args[:end]


def tell(line: str = "") -> None:
    """A line on standard error. Where that can't be written to, the exit code has to do."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _drop(sys.stderr)


def print_error(code: str, message: str, *, as_json: bool, **details: object) -> None:
    """One line on standard error: ``rq-sched: MESSAGE``, or the JSON object of it.

    A traceback that a task sent keeps its lines; anything that could act on the terminal is escaped.
    """
    if as_json:
        line = json.dumps({"error": {"code": code, "message": message, **details}}, default=str)
    else:
        line = folded(f"rq-sched: {safe(message, lines=True)}")
    tell(line)


def print_warning(message: str, *, as_json: bool) -> None:
    """Something to know of, on standard error, that changes nothing."""
    tell(json.dumps({"warning": {"message": message}}) if as_json else folded(f"rq-sched: warning: {safe(message)}"))


def deprecated(old: str, new: str, *, as_json: bool) -> None:
    """An old spelling was used, which still works."""
    print_warning(f"`{old}` is deprecated: write `{new}`", as_json=as_json)


def folded(text: str) -> str:
    """On a terminal, folded between words."""
    width = terminal_width(sys.stderr)
    first, *more = text.split("\n")
    lines = fold(first, width, margin="  ")
    for one in more:
        lines += fold(one, width)
    return "\n".join(lines)


def report(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong; returns the exit code."""
    if isinstance(error, BrokenPipeError):
        _drop_output()
        return BROKEN_PIPE
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        if not as_json:
            tell()  # ends the terminal's ^C
        return INTERRUPTED
    if os.environ.get("RQ_SCHED_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, UsageError | NotFound):
        print_error(error.code, _short(str(error)), as_json=as_json)
        return error.exit_status
    if isinstance(error, RqSchedError):
        print_error(error.code, str(error), as_json=as_json)
        return error.exit_status
    if isinstance(error, click.ClickException):
        return _report_click(error, as_json)
    if isinstance(error, OSError):
        _drop_output()  # it may be what has failed
        where = f"{error.filename}: " if error.filename else ""
        print_error("os_error", f"{where}{error.strerror or error}", as_json=as_json)
        return 1
    what = f"internal error: {type(error).__name__}: {error}; with RQ_SCHED_DEBUG=1 the traceback is shown"
    print_error("internal", " ".join(what.split()), as_json=as_json)
    return 1


def _short(message: str) -> str:
    """A message that repeats what was typed stays a line, however much was typed."""
    return message if len(message) <= 2 * HALF else f"{message[:HALF]} … {message[-HALF:]}"


def _report_click(error: click.ClickException, as_json: bool) -> int:
    if type(error).__name__ == "NoArgsIsHelpError" and not as_json:  # a bare `rq-sched`
        tell(error.format_message())
        return error.exit_code
    message = _short(" ".join(error.format_message().split()))
    message = message[:1].lower() + message[1:].removesuffix(".")
    ctx = getattr(error, "ctx", None)
    if ctx is not None and "--help" not in message:
        message += f" (`{ctx.command_path} --help` shows how)"
    usage = isinstance(error, click.UsageError)
    print_error(UsageError.code if usage else "error", message, as_json=as_json)
    return error.exit_code


def _drop_output() -> None:
    """Whoever read our output is gone: what is still buffered goes nowhere, silently."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _drop(stream)


def _drop(stream: TextIO) -> None:
    """What is written there from now on, and what is buffered, goes nowhere (else the interpreter would complain at
    its end)."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
