"""One line in the log when Redis is lost, and one when it is back, however many coroutines meet it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from rq_sched.errors import ClientBusy, RedisNotReady, RedisRefused, RedisUnavailable, RqSchedError, Unreadable

log = logging.getLogger("rq_sched.link")


def is_outage(error: BaseException) -> bool:
    """Whether Redis as a whole can't be used right now; else it is this one request that it refuses."""
    return isinstance(error, RedisNotReady) or type(error) is RedisUnavailable


def may_pass(error: BaseException) -> bool:
    """Whether it may be gone without anybody's doing: an outage, or all connections of this process are in use."""
    return is_outage(error) or isinstance(error, ClientBusy)


class Outage:
    """Whether Redis is there, as the calls of one process find it.

    Parameters:
        clock: tells seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.since: float | None = None
        """When it was lost, by the clock; None: it is there."""
        self.error = ""
        """What was said when it was lost."""
        self.last_answer = clock()
        """When it last did what was asked."""

    def failed(self, error: RqSchedError) -> None:
        """A call has failed with this."""
        if is_outage(error) and self.since is None:
            self.since = self._clock()
            self.error = str(error)
            log.warning("Redis is lost, trying again: %s", error)

    def worked(self) -> None:
        """A call has been answered."""
        self.last_answer = self._clock()
        if self.since is not None:
            log.warning("Redis is back", extra={"away": round(self.last_answer - self.since, 1)})
            self.since = None
            self.error = ""


def worth_a_line(error: RqSchedError, failures: int, outage: Outage | None) -> bool:
    """Whether a loop should log this failure, its ``failures``-th in a row: not what the outage has told already."""
    if outage is not None and is_outage(error):
        return False
    return failures == 1 or not isinstance(error, (RedisUnavailable, RedisRefused, Unreadable))
