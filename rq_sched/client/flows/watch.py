"""Watching tasks: their starts and their ends, of a set that others may add to meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from rq_sched.client.flows.base import BaseFlows, ride_out
from rq_sched.client.steps import Deadline, Emit, Flow, Hear, Listen, Waiting, batches, read_notification, run
from rq_sched.errors import RedisUnavailable
from rq_sched.model.states import State


class Watched(Waiting):
    """The tasks that are watched, and which attempt of each was told.

    Parameters:
        until_closed: whether the watching goes on when nothing is left, as more may be added.
    """

    def __init__(self, until_closed: bool) -> None:
        super().__init__()
        self.closed = False
        self._until_closed = until_closed
        self._added: list[str] = []
        self._told: dict[str, int] = {}

    def goes_on(self) -> bool:
        return not self.closed and (self._until_closed or bool(self._added) or super().goes_on())

    def add_later(self, task_ids: Iterable[str]) -> None:
        """More tasks, from any thread; the flow takes them up when it is woken."""
        self._added += task_ids

    def take_up(self) -> list[str]:
        """Those that were added since the last time."""
        added, self._added = self._added, []
        self.add(added)
        return added

    def discard(self, task_ids: Iterable[str]) -> None:
        """Watch these no more."""
        discarded = set(task_ids)
        self._added = [task_id for task_id in self._added if task_id not in discarded]
        for task_id in discarded:
            self._open.pop(task_id, None)
            self._told.pop(task_id, None)

    def is_news(self, task_id: str, state: State, attempt: int | None = None) -> bool:
        """Whether that wasn't told yet of a task that is watched. ``attempt``: None: not known."""
        if task_id not in self._open:
            return False
        return state.final or (state is State.RUNNING and (attempt is None or self._told.get(task_id) != attempt))

    def tell(self, task_id: str, state: State, attempt: int) -> None:
        """It is told now. One that has ended isn't watched any more."""
        if state.final:
            self.discard([task_id])
        else:
            self._told[task_id] = attempt


class WatchFlows(BaseFlows):
    """The flow of watching."""

    def watching(self, watched: Watched, channel: str) -> Flow[None]:
        """Emits lists of what is known of tasks that have started or ended, for as long as ``watched`` goes on. Redis'
        absence is waited out.

        Raises:
            TaskNotFound: one isn't there (any more); the others have been told, and it isn't watched any more.
        """
        tries = 0
        while watched.goes_on():
            watched.take_up()
            try:
                yield Listen(channel)
                for batch in batches(watched.all()):
                    yield from self._take_up(watched, batch, channel)
                tries = 0
                yield from self._listen(watched, channel)
            except RedisUnavailable as error:
                if not self.met():
                    raise
                tries = yield from ride_out(error, tries, Deadline(None))

    def _listen(self, watched: Watched, channel: str) -> Flow[None]:
        look = self.clock() + self.poll
        while watched.goes_on():
            message = yield Hear(max(0.0, look - self.clock()))
            for batch in batches(watched.take_up()):
                yield from self._take_up(watched, batch, channel)
            if message:
                news, _ = read_notification(message)
                yield from self._news(watched, news)
            if self.clock() >= look:
                batch = watched.next_batch()
                states = yield from run(self.store.states(batch))
                yield from self._seen(watched, batch, states)
                look = self.clock() + self.poll

    def _take_up(self, watched: Watched, batch: Sequence[str], channel: str) -> Flow[None]:
        """Ask to be told of their ends, and look where they are."""
        states = yield from run(self.store.watch(batch, channel))
        yield from self._seen(watched, batch, states)

    def _seen(self, watched: Watched, task_ids: Sequence[str], states: Sequence[State | None]) -> Flow[None]:
        known = [(t, state) for t, state in zip(task_ids, states, strict=True) if state is not None]
        yield from self._news(watched, known)
        gone = [t for t, state in zip(task_ids, states, strict=True) if state is None]
        watched.settle((task_id, None) for task_id in gone)
        watched.complain()

    def _news(self, watched: Watched, states: Sequence[tuple[str, State]]) -> Flow[None]:
        """Emit what is known of those that have started or ended and weren't told."""
        changed = [task_id for task_id, state in states if watched.is_news(task_id, state)]
        for batch in batches(changed):
            infos = yield from self.patiently(partial(self.store.status, batch), Deadline(None))
            news = [info for info in infos if info and watched.is_news(info.task_id, info.state, info.attempt)]
            for info in news:
                watched.tell(info.task_id, info.state, info.attempt)
            yield Emit(news)
