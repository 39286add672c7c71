"""The log lines of a process: text for people, or one JSON object a line for machines.

Fields given with ``extra=`` (``task_id``, ``node_id``, ``attempt`` …) follow the message as ``name=value``, or become
fields of the object.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import time
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and the extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """``12:30:01.250 INFO scheduler placed tasks=3``; control characters are escaped, so that no task's name can
    write to the terminal or forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        name = record.name.removeprefix("rq_sched.")
        fields = "".join(f" {key}={value}" for key, value in _extra(record).items())
        line = f"{clock}.{int(record.msecs):03d} {record.levelname} {name} {record.getMessage()}{fields}"
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class PipeHandler(logging.Handler):
    """Writes to a pipe without ever waiting for its reader: a worker that waited would be declared dead. What the pipe
    can't take is lost, and counted in the next line that it takes.

    Parameters:
        descriptor: the pipe's; it is opened anew, as not to wait is a property of the opening, which others share.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._pipe = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record) + "\n"
        if self._lost:
            line = f"{self._lost} lines of this log were lost: nobody read them\n{line}"
        data = line.encode("utf-8", "backslashreplace")
        try:
            self._lost = 0 if os.write(self._pipe, data) == len(data) else 1
        except OSError:
            self._lost += 1


def worth_telling(record: logging.LogRecord) -> bool:
    """False for a lost connection that asyncio has nobody to tell of: its reader was cancelled in the same turn of the
    loop. Who uses the connection is told by the next call, and says so in a line of its own."""
    lost = record.exc_info and record.exc_info[0] and issubclass(record.exc_info[0], ConnectionError)
    return not (lost and record.getMessage().startswith("Future exception was never retrieved"))


def _handler() -> logging.Handler:
    try:
        descriptor = sys.stderr.fileno()
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return PipeHandler(descriptor)
    except (OSError, ValueError):  # no real file; or no /proc
        pass
    return logging.StreamHandler(sys.stderr)


def setup(level: str = "info", format: str = "text") -> None:
    """Send the log of this process to standard error.

    Parameters:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        format: ``text`` or ``json``.
    """
    handler = _handler()
    handler.addFilter(worth_telling)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
