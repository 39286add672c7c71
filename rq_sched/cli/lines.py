"""Lines of a file of tasks: read as they come, each a request."""

from __future__ import annotations

import json
import os
import select

from rq_sched.cli.arguments import plain_json, submitted_from
from rq_sched.errors import InvalidValue
from rq_sched.model.task import TaskRequest, request_from_json

READ_BYTES = 256 * 1024
MAX_LINE = 4 * 1024 * 1024
"""Bytes of a line: 256 KiB of arguments, each byte escaped as in ``\\u0000``, and room to spare."""


class LineReader:
    """The lines of a file descriptor, without waiting longer than asked.

    Parameters:
        name: of the file; empty: standard input.
    """

    def __init__(self, descriptor: int, name: str = "") -> None:
        self.descriptor = descriptor
        self.name = name
        self.bytes = 0
        self._begun: list[bytes] = []
        self._begun_bytes = 0

    def read(self, timeout: float | None) -> list[bytes] | None:
        """The lines that are there, waited for at most ``timeout`` seconds (None: for ever); None at the end.

        A line longer than ``MAX_LINE`` comes cut, one byte longer than that.
        """
        if not select.select([self.descriptor], [], [], timeout)[0]:
            return []
        try:
            chunk = os.read(self.descriptor, READ_BYTES)
        except OSError as error:
            name = self.name or "standard input"
            raise InvalidValue(f"--from-file: {name} can't be read: {error.strerror}") from None
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


def read_line(text: bytes) -> TaskRequest:
    """The request in one line, checked as far as it can be without Redis.

    Raises:
        UsageError: with the reason.
    """
    if len(text) > MAX_LINE:
        raise InvalidValue(f"the line is longer than {MAX_LINE // 1024**2} MiB")
    try:
        data = plain_json(text.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InvalidValue("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidValue(f"broken JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"broken JSON: {error}") from None
    request = request_from_json(data)
    if request.function.startswith("exec:") and request.chdir is None:
        request.hints = submitted_from()
    request.pack_arguments()  # here, and not among the others of the batch, so that only this line is refused
    return request
