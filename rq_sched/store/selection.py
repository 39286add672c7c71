"""Tasks that are chosen by their state rather than named: their ids, a bite at a time, however many there are."""

from __future__ import annotations

from collections import deque
from itertools import islice

from rq_sched.link import Op
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.reading import text, whole
from rq_sched.model.states import FINAL, State
from rq_sched.store.base import PAGE
from rq_sched.store.indexes import Index, IndexEntry, fill
from rq_sched.store.lists import ACTIVE, Lists

BITE = 200
"""Tasks in a bite, at most."""


class Selection:
    """The tasks in a state, each once: those that are there when the first bite is taken.

    What comes into the state later isn't among them: a task that is run again and fails again isn't chosen twice. What
    leaves it meanwhile may still be chosen: who changes what is chosen must expect refusals. The rest of an array is
    chosen by the array's id.

    Parameters:
        store: asks.

    >>> from rq_sched.store import Store
    >>> chosen = Selection(Store("default"), State.FAILED)
    >>> ids = link.run(chosen.bite())  # doctest: +SKIP
    """

    def __init__(self, store: Lists, state: State) -> None:
        self._store = store
        self._state = state
        self._begun = False
        self._indexes: deque[Index] = deque()
        self._listed: deque[str] = deque()
        self._last_sequence = ""
        self._now = 0

    def bite(self) -> Op[list[str]]:
        """The next ids, at most 200; none: there are no more. If Redis was away it may be asked again."""
        if not self._begun:
            yield from self._begin()
        while self._indexes:
            index = self._indexes[0]
            if not index.buffer and not index.done:
                yield from fill([index], BITE)
            entries = [index.buffer.popleft() for _ in range(min(BITE, len(index.buffer)))]
            if not entries:
                self._indexes.popleft()
            elif ids := self._chosen(entries):
                return ids
        while some := list(islice(self._listed, BITE)):
            states = yield from self._store.states(some)
            for _ in some:
                self._listed.popleft()
            if ids := [task_id for task_id, state in zip(some, states, strict=True) if state is self._state]:
                return ids
        return []

    def _begin(self) -> Op[None]:
        keys, state = self._store.keys, self._state
        if state in ACTIVE:
            self._listed.extend((yield from self._store.ids_on_nodes()))
        elif state is State.DELAYED:  # their scores don't tell since when they are there
            yield from self._list_all(Index(keys.delayed))
        elif state is State.PENDING:
            last = (yield [("GET", keys.seq)])[0]
            self._last_sequence = f"{whole(last):0{SEQUENCE}x}"
            self._indexes.extend((yield from self._store.pending_indexes()))
        else:
            self._now = yield from self._store.now()
            self._indexes.append(Index(keys.finished(state) if state in FINAL else keys.held))
        self._begun = True

    def _list_all(self, index: Index) -> Op[None]:
        while not index.done:
            yield from fill([index], PAGE)
            self._listed.extend(_id(entry.member) for entry in index.buffer)
            index.buffer.clear()

    def _chosen(self, entries: list[IndexEntry]) -> list[str]:
        """The ids in these entries of those tasks that were there at the beginning."""
        if self._state is State.PENDING:
            members = (entry.member for entry in entries)
            return [_id(m[SEQUENCE:]) for m in members if text(m[:SEQUENCE]) <= self._last_sequence]
        return [_id(entry.member) for entry in entries if entry.score <= self._now]


def _id(member: bytes) -> str:
    """The id in an entry; that of its array, where it is the rest of one."""
    return text(member).removesuffix("/")
