"""The line to Redis. Operations (``rq_sched.store``) say what to ask; a link asks it, waiting (``Link``) or not
(``AsyncLink``), and turns every answer that is an error into one of ``rq_sched.errors``.

An operation is a generator: it yields lists of requests, which travel together in one round trip, and gets the list of
replies. So the same operations serve both links, and neither knows what they are about.

``requests.py`` what is asked, and how it becomes commands (without IO, for both links) · ``answers.py`` errors ·
``drivers.py`` the driver's clients, also by way of Sentinel · ``blocking.py``, ``awaiting.py`` the two links ·
``lines.py`` their connections, so many at most · ``ears.py``, ``async_ears.py`` the one on which all of them listen ·
``outage.py`` one line in the log when Redis is lost, one when it is back ·
``silence.py`` whether who hears nothing has still somebody to listen to · ``stream.py`` requests sent ahead of their
replies.

What a link does about a bad line: the driver sends again what may have been lost (every script may be repeated), twice,
each time on a new connection; what gives no answer within ``ANSWER_SECONDS`` counts as lost. A server that says that
it isn't the one for us any more (read-only, without its replicas) is left: the next connection asks Sentinel, or the
name server, anew. Who listens sends a sign of life now and then, as a silent connection looks like a quiet one.
"""

from __future__ import annotations

from rq_sched.link.address import shown as shown
from rq_sched.link.async_ears import AsyncEars as AsyncEars
from rq_sched.link.awaiting import AsyncLink as AsyncLink
from rq_sched.link.blocking import Link as Link
from rq_sched.link.drivers import ANSWER_SECONDS as ANSWER_SECONDS
from rq_sched.link.ears import Ears as Ears
from rq_sched.link.outage import Outage as Outage
from rq_sched.link.requests import Barrier as Barrier
from rq_sched.link.requests import Command as Command
from rq_sched.link.requests import Op as Op
from rq_sched.link.requests import Request as Request
from rq_sched.link.requests import Row as Row
from rq_sched.link.stream import Stream as Stream

__all__ = [
    "ANSWER_SECONDS",
    "AsyncEars",
    "AsyncLink",
    "Barrier",
    "Command",
    "Ears",
    "Link",
    "Op",
    "Outage",
    "Request",
    "Row",
    "Stream",
    "shown",
]
