"""A ``Link`` on a plain connection: what the driver adds to each request costs the model tests half of their time."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import hiredis
from redis.exceptions import NoScriptError, ResponseError

from rq_sched.link import Command, Link


class DirectLink(Link):
    """To a server on a unix socket. A connection that breaks is an error.

    >>> DirectLink("unix:///run/redis.sock").run(store.nodes())  # doctest: +SKIP
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(unquote(url.removeprefix("unix://")))
        self._reader = hiredis.Reader(replyError=_error)

    def _send(self, commands: Sequence[Command], within: float | None, follows: bool) -> list[Any]:
        self._socket.sendall(b"".join([hiredis.pack_command(command) for command in commands]))  # type: ignore[arg-type]
        replies: list[Any] = []
        while len(replies) < len(commands):
            while (reply := self._reader.gets()) is False:
                self._reader.feed(self._socket.recv(1 << 16))
            replies.append(reply)
        return replies

    def close(self) -> None:
        self._socket.close()
        super().close()


def _error(text: str) -> ResponseError:
    """As the driver would have it."""
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text.removeprefix("ERR "))
