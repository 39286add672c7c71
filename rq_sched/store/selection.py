"""Tasks that are chosen by their states and tags rather than named: their ids, a batch at a time, however many there
are."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from rq_sched.link import Op
from rq_sched.model import tags
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.reading import text, whole
from rq_sched.model.states import FINAL, State
from rq_sched.store.base import PAGE
from rq_sched.store.indexes import Index, IndexEntry, fill
from rq_sched.store.lists import ACTIVE, Lists

BATCH = 200
"""Tasks in a batch, at most."""
ASIDE = (State.WAITING, State.DELAYED, State.HELD)
KINDS = tuple(
    map(frozenset, (*({state} for state in ASIDE), {State.PENDING}, ACTIVE, *({state} for state in sorted(FINAL))))
)
"""The states that are looked through together, in the order of a task's life: one that moves on is met later."""


class Selection:
    """The tasks in some states, each once: those that are there when its turn comes to the state.

    What comes into the state later isn't among them: a task that is run again and fails again isn't chosen twice. What
    leaves it meanwhile may still be chosen: who changes what is chosen must expect refusals. The rest of an array is
    chosen by the array's id. Tags are looked at one by one, in the requests: the cost is that of all tasks in these
    states.

    Parameters:
        store: asks.
        tags: which a task must have, names with texts.

    >>> from rq_sched.store import Store
    >>> chosen = Selection(Store("default"), [State.FAILED], {"run": "17"})
    >>> ids = link.run(chosen.next_batch())  # doctest: +SKIP
    """

    def __init__(self, store: Lists, states: Collection[State], tags: Mapping[str, str] | None = None) -> None:
        self._store = store
        self._tags = tags or {}
        self._kinds = deque(kind & frozenset(states) for kind in KINDS if kind & frozenset(states))
        self._several = len(self._kinds) > 1
        self._met: set[str] = set()  # where several kinds are looked through
        self._kind: _Kind | None = None

    def next_batch(self) -> Op[list[str]]:
        """The next ids, at most 200; none: there are no more. If Redis was away it may be asked again."""
        while self._kinds:
            if self._kind is None:
                self._kind = _Kind(self._store, self._kinds[0])
            found = yield from self._kind.look()
            if not found:
                self._kinds.popleft()
                self._kind = None
                continue
            chosen = (yield from self._tagged(found)) if self._tags else found
            self._kind.take()
            if self._several:
                chosen = [task_id for task_id in chosen if task_id not in self._met]
                self._met.update(chosen)
            if chosen:
                return chosen
        return []

    def _tagged(self, task_ids: list[str]) -> Op[list[str]]:
        """Those of these that have the tags."""
        records = yield from self._store.records(task_ids)
        wanted = self._tags.items()
        return [
            task_id
            for task_id, record in zip(task_ids, records, strict=True)
            if record and wanted <= tags.read(text(record.get(b"tags", b""))).items()
        ]


class _Kind:
    """The tasks in states that are looked through together."""

    def __init__(self, store: Lists, states: frozenset[State]) -> None:
        self._store = store
        self._states = states
        self._begun = False
        self._indexes: deque[Index] = deque()
        self._listed: deque[str] = deque()
        self._last_sequence = ""
        self._now = 0
        self._looked_at: deque[IndexEntry] | deque[str] = deque()

    def look(self) -> Op[list[str]]:
        """The next ids; none: there are no more. They come again, until they are taken."""
        if not self._begun:
            yield from self._begin()
        while self._indexes:
            index = self._indexes[0]
            if not index.buffer and not index.done:
                yield from fill([index], BATCH)
            if not index.buffer:
                self._indexes.popleft()
                continue
            self._looked_at = index.buffer
            if ids := self._there_before(islice(index.buffer, BATCH)):
                return ids
            self.take()
        self._looked_at = self._listed
        while some := list(islice(self._listed, BATCH)):
            states = yield from self._store.states(some)
            if ids := [task_id for task_id, state in zip(some, states, strict=True) if state in self._states]:
                return ids
            self.take()
        return []

    def take(self) -> None:
        """What was looked at is done with."""
        for _ in range(min(BATCH, len(self._looked_at))):
            self._looked_at.popleft()

    def _begin(self) -> Op[None]:
        keys = self._store.keys
        if self._states <= ACTIVE:
            self._listed.extend((yield from self._store.ids_on_nodes()))
        elif self._states & {State.WAITING, State.DELAYED}:  # their scores don't tell since when they are there
            yield from self._list_all(Index(keys.waiting if State.WAITING in self._states else keys.delayed))
        elif State.PENDING in self._states:
            last = (yield [("GET", keys.seq)])[0]
            self._last_sequence = f"{whole(last):0{SEQUENCE}x}"
            self._indexes.extend((yield from self._store.pending_indexes()))
        else:
            (state,) = self._states
            self._now = yield from self._store.now()
            self._indexes.append(Index(keys.finished(state) if state in FINAL else keys.held))
        self._begun = True

    def _list_all(self, index: Index) -> Op[None]:
        while not index.done:
            yield from fill([index], PAGE)
            self._listed.extend(_id(entry.member) for entry in index.buffer)
            index.buffer.clear()

    def _there_before(self, entries: Iterable[IndexEntry]) -> list[str]:
        """The ids in these entries of those tasks that were there at the beginning."""
        if self._last_sequence:
            members = (entry.member for entry in entries)
            return [_id(m[SEQUENCE:]) for m in members if text(m[:SEQUENCE]) <= self._last_sequence]
        return [_id(entry.member) for entry in entries if entry.score <= self._now]


def _id(member: bytes) -> str:
    """The id in an entry; that of its array, where it is the rest of one."""
    return text(member).removesuffix("/")
