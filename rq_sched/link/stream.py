"""``Stream``: requests sent ahead of their replies, for who has many that don't depend on each other's answers.

The server works on the first while the later ones are still being made, and replies are read while it works on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis
from redis import exceptions

from rq_sched.link.requests import Request, Talk

FLUSH = 16_384
"""Bytes that are sent in one piece."""


class Stream:
    """One connection, made by ``Link.stream``. Nothing is sent twice: where it breaks, the work is over.
    The scripts that will be called must have been loaded.
    """

    def __init__(self, link: Talk, connection: Any) -> None:
        self._link = link
        self._connection = connection
        self._packed: list[bytes] = []
        self._size = 0

    def send(self, requests: Sequence[Request]) -> None:
        """Send requests, or keep them for a moment: ``receive`` sends what is left."""
        for request in requests:
            packed = hiredis.pack_command(self._link._command(request))  # type: ignore[arg-type]
            self._packed.append(packed)
            self._size += len(packed)
        if self._size > FLUSH:
            self._flush()

    def receive(self, count: int) -> list[Any]:
        """The next replies, in the order of the requests.

        Raises:
            RqSchedError: one of them is a refusal, or Redis can't be used.
        """
        if self._packed:
            self._flush()
        try:
            replies = [self._connection.read_response(disable_decoding=True) for _ in range(count)]
        except (exceptions.RedisError, OSError) as error:
            raise self._link.translate(error) from None
        for reply in replies:
            if isinstance(reply, Exception):
                raise self._link.translate(reply) from None
        return replies

    def _flush(self) -> None:
        packed, self._packed, self._size = self._packed, [], 0
        try:
            self._connection.send_packed_command([b"".join(packed)], check_health=False)
        except (exceptions.RedisError, OSError) as error:
            raise self._link.translate(error) from None

    def close(self) -> None:
        self._connection.disconnect()
