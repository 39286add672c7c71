"""What agents report of attempts: that they run, what they print, how far they are, what they use, how they end."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from rq_sched.link import Op
from rq_sched.link.scripts import Argument
from rq_sched.model.resources import Resources
from rq_sched.store.answers import EndReport, Finished, Resized
from rq_sched.store.base import Base, nonce
from rq_sched.store.order_records import order_of

REFILL = 32
"""Orders that one reply carries at most."""


def start_of(token: str, ran: float) -> str:
    """What ``task_start`` and ``task_finish`` take of an attempt that has run for so many seconds.

    >>> start_of("5f.1.1", 0.0512)
    '5f.1.1:51'
    """
    return f"{token}:{max(0, round(ran * 1000))}"


class Attempts(Base):
    """The transitions of attempts on nodes."""

    def task_start(self, node_id: str, incarnation: str, starts: Sequence[str]) -> Op[int]:
        """Report that attempts run.  Raises: StaleIncarnation.

        Parameters:
            starts: their tokens, or ``start_of`` those that began a while ago.
        """
        return int((yield from self._one("task_start", node_id, incarnation, *starts)))

    def task_finish(
        self,
        node_id: str,
        incarnation: str,
        *,
        acked: int,
        reports: Sequence[EndReport],
        starts: Sequence[str] = (),
        limit: int = REFILL,
    ) -> Op[Finished]:
        """Report ends of attempts and get the next orders, in one call.  Raises: StaleIncarnation.

        Parameters:
            starts: as in ``task_start``: here they cost no call of their own.
        """
        arguments: list[Argument] = []
        for r in reports:
            ran = "-" if r.ran is None else round(r.ran * 1000)
            head = f"{r.token} {r.task_id} {r.outcome} {ran}"
            if r.reason:
                head += f" reason={r.reason}"
            if r.exit_code is not None:
                head += f" exit_code={r.exit_code}"
            arguments += (head, (r.result if r.outcome == "completed" else r.error) or "", r.output)
        outcomes, orders = yield from self._one(
            "task_finish", node_id, incarnation, acked, nonce(), limit, random.random(), " ".join(starts), *arguments
        )
        return Finished([o.decode() for o in outcomes], [order_of(o) for o in orders])

    def task_output(self, node_id: str, incarnation: str, token: str, data: bytes) -> Op[bool]:
        """Keep what a running task has printed; False if the attempt is over."""
        return bool((yield from self._one("task_output", node_id, incarnation, token, data)))

    def task_progress(self, node_id: str, incarnation: str, progress: Mapping[str, float]) -> Op[int]:
        """Keep how far running tasks say they are (token → 0 to 1)."""
        pairs: list[Argument] = []
        for token, fraction in progress.items():
            pairs += (token, fraction)
        return int((yield from self._one("task_progress", node_id, incarnation, *pairs)))

    def task_resize(
        self, node_id: str, incarnation: str, token: str, *, number: int, cpu: int | None, memory: int | None
    ) -> Op[Resized]:
        """Set an allocation to absolute amounts (None leaves one); answers the allocation as it is now.

        Raises:
            StaleIncarnation
        """
        now_cpu, now_memory, ordered = yield from self._one(
            "task_resize",
            nonce(),
            node_id,
            incarnation,
            token,
            number,
            "" if cpu is None else cpu,
            "" if memory is None else memory,
            REFILL,
        )
        return Resized(Resources(now_cpu, now_memory), ordered)

    def task_grow(
        self, node_id: str, incarnation: str, tokens: Sequence[str], *, idle: float = 0.0
    ) -> Op[tuple[int, float]]:
        """Ask for the node's idle CPU, for elastic attempts below their maximum: how many got some (resize orders say
        how much), and after how many seconds it is worth asking again. ``idle``: seconds since the node last got a
        task.

        Raises:
            StaleIncarnation
        """
        grown, wait = yield from self._one("task_grow", node_id, incarnation, round(idle * 1000), *tokens)
        return grown, wait / 1000
