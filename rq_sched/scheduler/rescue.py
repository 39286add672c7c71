"""A script that doesn't end blocks Redis for everybody. Schedulers stop it: Redis allows that for a script that has
written nothing, and what rq-sched itself runs there is bounded.

While a script runs for longer than ``busy-reply-threshold`` (5 s, if it isn't configured), the server answers ``BUSY``
to everything but a few commands: the login, FUNCTION STATS, FUNCTION KILL (for functions) and SCRIPT KILL (for scripts
that came by EVAL; nothing tells which one it is).
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from rq_sched.link import AsyncLink, Command
from rq_sched.link.answers import word_of

log = logging.getLogger(__name__)

LONG = 1.0
"""Seconds after which a function is stopped: none of ours takes 0.05."""


class Culprit(NamedTuple):
    """What blocks the server: what stops it, its name, and for how many seconds it has run (None: that isn't told)."""

    kill: Command
    name: str
    seconds: float | None


class Rescuer:
    """Looks whether a script blocks the server, and stops it. To be asked while Redis can't be used."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link
        self._logged: set[str] = set()

    async def run_once(self) -> bool:
        """Whether a script was stopped.

        Raises:
            RqSchedError: Redis can't be reached.
        """
        found = culprit(await self._link.ask(("FUNCTION", "STATS")))
        if isinstance(found, str):
            self._log_once(found)
            return False
        if found is None:
            return False
        answer = await self._link.ask(found.kill)
        fields = {"script": found.name, "seconds": found.seconds}
        match word_of(answer) if isinstance(answer, Exception) else "":
            case "":
                log.warning("a script blocked Redis: it was stopped", extra=fields)
                return True
            case "UNKILLABLE":
                self._log_once(
                    "a script blocks Redis and can't be stopped, as it has written something: wait until it ends, or "
                    "stop the server by `redis-cli SHUTDOWN NOSAVE` and start it again (with the append-only file on, "
                    "only what this script wrote is lost)",
                    fields,
                )
            case "NOPERM":
                self._log_once(_NOT_ALLOWED, fields)
        return False

    def forget(self) -> None:
        """Redis is back: the next time all is said again."""
        self._logged.clear()

    def _log_once(self, message: str, extra: dict[str, Any] | None = None) -> None:
        if message not in self._logged:
            self._logged.add(message)
            log.error(message, extra=extra)


_NOT_ALLOWED = (
    "Redis can't be used, and this user may not look whether a script blocks it, and stop it: "
    "give it +function|stats +function|kill +script|kill (deploy/acl/scheduler.acl)"
)


def culprit(reply: Any) -> Culprit | str | None:
    """What blocks the server, by its answer to FUNCTION STATS; a text: what keeps us from knowing; None: nothing."""
    if isinstance(reply, Exception):
        if word_of(reply) == "NOPERM":
            return _NOT_ALLOWED
        if word_of(reply) == "BUSY" and "SCRIPT KILL" in str(reply):
            return Culprit(("SCRIPT", "KILL"), "sent by EVAL", None)
        return None
    running = _fields(reply).get(b"running_script")
    if not running:
        return None
    about = _fields(running)
    seconds = int(about[b"duration_ms"]) / 1000
    name = bytes(about[b"name"]).decode(errors="replace")
    return Culprit(("FUNCTION", "KILL"), name, seconds) if seconds >= LONG else None


def _fields(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
