"""Signed requests: with a secret that submitters and workers share, who can write to Redis can still not choose what
workers run (``docs/security.md`` says what the signature covers, and what it doesn't).

The signature (HMAC-SHA256, the first 128 bits) is over namespace, task id, function, arguments and time limit. It
travels inside the packed arguments, as their last element: so no script and no record knows of it, and unsigned tasks
pay nothing.

>>> signer = Signer("a key of at least 16 characters", "default")
>>> packed = signer.sign("t1", "math:sqrt", b"", None)
>>> signer.verify("t1", "math:sqrt", packed, None), signer.verify("t2", "math:sqrt", packed, None)
(True, False)
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from rq_sched.errors import InvalidValue

LEAST_KEY = 16
SIZE = 16
_NOTHING = b"\x92\x90\x80"  # msgpack of [[], {}]
_LONGER = {b"\x92": b"\x93", b"\x93": b"\x94"}  # how a list of two, of three begins, and one with an element more
_SHORTER = {longer: shorter for shorter, longer in _LONGER.items()}
_BYTES = b"\xc4" + bytes([SIZE])  # how bytes of that length begin


class Signer:
    """Signs and verifies the requests of one namespace.

    Parameters:
        key: at least 16 characters; make one with ``openssl rand -hex 32``.

    Raises:
        InvalidValue: the key is too short.
    """

    def __init__(self, key: str, namespace: str) -> None:
        if len(key.strip()) < LEAST_KEY:
            raise InvalidValue(f"the signing key must have at least {LEAST_KEY} characters (openssl rand -hex 32)")
        self._mac = hmac.new(key.encode(), b"rq-sched request 1\0" + namespace.encode() + b"\0", hashlib.sha256)

    def sign(self, task_id: str, function: str, packed: bytes, time_limit: float | None) -> bytes:
        """The packed arguments with the signature in them. ``time_limit``: seconds."""
        body = packed or _NOTHING
        return _LONGER[body[:1]] + body[1:] + _BYTES + self._signature(task_id, function, body, time_limit)

    def verify(self, task_id: str, function: str, packed: bytes, time_limit: float | None) -> bool:
        """Whether these packed arguments carry the signature of exactly this request."""
        if packed[:1] not in _SHORTER or packed[-SIZE - 2 : -SIZE] != _BYTES:
            return False
        body = _SHORTER[packed[:1]] + packed[1 : -SIZE - 2]
        return hmac.compare_digest(packed[-SIZE:], self._signature(task_id, function, body, time_limit))

    def _signature(self, task_id: str, function: str, body: bytes, time_limit: float | None) -> bytes:
        limit = "" if time_limit is None else str(round(time_limit * 1000))
        mac = self._mac.copy()
        for part in (task_id.encode(), function.encode(), limit.encode(), body):
            mac.update(len(part).to_bytes(8, "big") + part)
        return mac.digest()[:SIZE]


def unsigned(packed: bytes) -> bytes:
    """Packed arguments as they were before they were signed, if they were.

    >>> unsigned(Signer("a key of at least 16 characters", "default").sign("t1", "math:sqrt", b"", None))
    b''
    """
    if packed[:1] not in _SHORTER or packed[-SIZE - 2 : -SIZE] != _BYTES:
        return packed
    body = _SHORTER[packed[:1]] + packed[1 : -SIZE - 2]
    return b"" if body == _NOTHING else body


KEY = "RQ_SCHED_SIGNING_KEY"
"""The variable with the secret itself."""


def without_key(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that needn't know the secret."""
    return {name: value for name, value in environment.items() if name != KEY}
