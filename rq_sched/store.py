"""What can be done with the truth in Redis: one method a transition, one a question.

Each method returns an operation (``link.Op``) that a ``Link`` or ``AsyncLink`` carries out::

    link.run(store.cancel("t1", requeue=False))

Writing is always one script; what a script promises stands at its head (``lua/``). Questions are in ``queries.py``,
``lists.py`` and ``explain.py``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rq_sched.arrays import extent
from rq_sched.config import SETTINGS
from rq_sched.errors import InvalidValue
from rq_sched.keys import check_id, known_id
from rq_sched.labels import suffix
from rq_sched.link import Command, Op
from rq_sched.lists import Lists
from rq_sched.node import Entry, Garbled, NodeState, Order, Reload, Resize, Start, Stop, Void
from rq_sched.reading import text
from rq_sched.resources import MAX_CPU, MAX_MEMORY, Resources
from rq_sched.scripts import Argument
from rq_sched.submits import BATCH as BATCH
from rq_sched.submits import PIPELINE, Submits, nonce
from rq_sched.task import DEFAULT_GRACE, State, need_of

PLACE_BATCH = 16
"""Placings and look-ups of one call, so that it stays short (docs/performance.md says how short). 32 cost no less a
task."""
REFILL = 32
"""Orders that one reply carries at most."""
REAP_BATCH = 32
"""Attempts of a dead node that one call gives back: each may cost as much as a submit and an end."""
MAX_FAULT = 500
"""Characters of what is told of a node's fault."""
SWEEP_GAP = 1.5
"""Seconds without a sweep or a heartbeat that mean Redis was away (schedulers sweep every 0.5 s)."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel did: ``requeued``, ``cancelled``, ``stopping`` (its processes were told to stop), ``unchanged``
    (delayed or held, and to be requeued), ``already completed|failed|cancelled``.

    ``elements``: of an array those that were told to stop, with the attempts that they are in."""

    outcome: str
    state: State
    attempt: int
    elements: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The answer to a heartbeat: the node's state, the number of the last order given to it, and whether its ledger is
    what the agent believes (None: not compared)."""

    state: NodeState
    ordered: int
    agrees: bool | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """One bite of a ledger: the cursor of the next one (``"0"``: this was the last), the number of the last order."""

    cursor: str
    ordered: int
    entries: list[Entry]


@dataclass(slots=True)
class Report:
    """How an attempt ended. ``ran``: seconds since its start, None if it never started.

    ``outcome``: ``completed``, ``failed`` (with a reason), ``crashed`` (its process died, not by us), ``returned`` (the
    node gave it up: costs nothing), ``stopped`` (confirms a stop order: the processes are gone).
    """

    token: str
    task_id: str
    outcome: str
    ran: float | None = None
    reason: str | None = None
    result: bytes | None = None
    error: str | None = None
    exit_code: int | None = None
    output: bytes = b""


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer to reports: ``recorded`` or ``stale`` for each, and the node's next orders."""

    outcomes: list[str]
    orders: list[Order]


@dataclass(frozen=True, slots=True)
class Placed:
    """What a placing call did, whether it left work, and which tasks it placed (``ID@NODE#ATTEMPT`` …)."""

    placed: int
    more: bool
    items: str = ""


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a reserving call did: the first blocked task, the node that is reserved (None: none), how many tasks were
    told to stop, how many heads were looked at, and for which task the node is kept: an earlier one may be the first
    blocked one since."""

    task_id: str | None
    node_id: str | None
    preempted: int
    looked: int
    kept_for: str | None = None


@dataclass(frozen=True, slots=True)
class Resized:
    """The allocation as it is after a ``task_resize`` (0:0 if the attempt is over), and the number of the last order:
    resize orders up to that one are older than this answer."""

    allocation: Resources
    ordered: int


@dataclass(frozen=True, slots=True)
class Promoted:
    """How many delayed tasks joined their queues, when (ms) the next is due, and in how many seconds that is."""

    promoted: int
    next_ms: int | None
    due_in: float | None


class Store(Submits, Lists):
    """The operations on one namespace. Parameters: ``Submits``.

    >>> Store("default").keys.task("t1")
    'rqs:{default}:task:t1'
    """

    # -- tasks, for clients -----------------------------------------------------------------------

    def cancel(
        self,
        task_id: str,
        *,
        requeue: bool = True,
        grace: float = DEFAULT_GRACE,
        reason: str | None = None,
        operation: str | None = None,
    ) -> Op[Cancelled]:
        """Stop a task; it goes to the back of its equals, or with ``requeue=False`` ends as cancelled. Of an array: all
        elements that haven't ended.

        Raises:
            TaskNotFound
        """
        told: dict[str, Any] = {}
        outcome, state, attempt = yield from self._with_elements(
            "task_cancel",
            task_id,
            operation or nonce(),
            int(requeue),
            round(grace * 1000),
            note(reason),
            told=told,
        )
        stopping = {t: answer[2] for t, answer in told.items() if answer[0] == b"stopping"}
        word, now = outcome.decode(), State(state.decode())
        return Cancelled(f"already {now}" if word == "already" else word, now, attempt, stopping)

    def hold(self, task_id: str) -> Op[State]:
        """Set a waiting task aside; of an array all that wait.  Raises: TaskNotFound, TaskFinal, WrongState."""
        return State((yield from self._with_elements("task_hold", task_id)).decode())

    def unhold(self, task_id: str) -> Op[State]:
        """Bring a held task back to its old place.  Raises: TaskNotFound, TaskFinal, TooManyLabelSets."""
        return State((yield from self._with_elements("task_unhold", task_id)).decode())

    def requeue(self, task_id: str, operation: str | None = None) -> Op[State]:
        """Run an ended task again, or a delayed one now.  Raises: TaskNotFound, WrongState, TooManyLabelSets."""
        return State((yield from self._one("task_requeue", known_id(task_id), operation or nonce())).decode())

    def prioritize(self, task_id: str, priority: int) -> Op[State]:
        """Change a task's priority.  Raises: TaskNotFound, TaskFinal."""
        return State((yield from self._with_elements("task_prioritize", task_id, priority)).decode())

    def _with_elements(
        self, name: str, task_id: str, *arguments: Argument, told: dict[str, Any] | None = None
    ) -> Op[Any]:
        """A change of a task. Of an array the script changes what isn't made yet; what is made, and hasn't ended,
        follows one by one, as far as the change can be made there: ``told`` gets the replies."""
        reply, live = yield [self.call(name, known_id(task_id), *arguments), ("SMEMBERS", self.keys.live(task_id))]
        for i in range(0, len(live), PIPELINE):
            ids = [f"{task_id}/{index.decode()}" for index in live[i : i + PIPELINE]]
            replies = yield [replace(self.call(name, t, *arguments), may_refuse=True) for t in ids]
            if told is not None:
                told |= {t: r for t, r in zip(ids, replies, strict=True) if not isinstance(r, Exception)}
        return reply

    def watch(self, task_ids: Sequence[str], channel: str) -> Op[list[State | None]]:
        """Ask to be told on ``keys.done(channel)`` when tasks end (``ID STATE`` pairs); answers their states now."""
        states: list[State | None] = []
        for i in range(0, len(task_ids), BATCH * PIPELINE):
            part = task_ids[i : i + BATCH * PIPELINE]
            replies = yield [self.call("task_watch", channel, *part[j : j + BATCH]) for j in range(0, len(part), BATCH)]
            states += [State(s.decode()) if s else None for reply in replies for s in reply]
        return states

    def forget_ids(self, task_ids: Sequence[str]) -> Op[int]:
        """Drop ended tasks, arrays with all elements.  Raises: TaskNotFound, TaskNotFinal."""
        replies = yield [self.call("task_forget", known_id(task_id)) for task_id in task_ids]
        dropped = 0
        for task_id, reply in zip(task_ids, replies, strict=True):
            if isinstance(reply, bytes):
                dropped += yield from self._forget_array(task_id, *extent(reply))
            else:
                dropped += 1
        return dropped

    def _forget_array(self, array_id: str, first: int, last: int) -> Op[int]:
        """Drop its elements: those that were made in their turn, then those that were made before it. Says how many,
        with those that never had a record."""
        unmade = (yield [("HGET", self.keys.task(array_id), "jv")])[0]
        made, _ = yield from self.made_stretches(array_id, first, last)
        dropped = 0
        for begin, end in made:  # at least one call, also where none was made: the array goes with the last
            dropped += yield from self.forget_stretch(array_id, begin, max(begin, end))
        return dropped + int(unmade or 0)

    def forget_stretch(self, array_id: str, first: int, last: int) -> Op[int]:
        """Drop those elements of an ended array that have a record, from one index to another."""
        dropped = 0
        for start in range(first, last + 1, BATCH * PIPELINE):
            end = min(start + BATCH * PIPELINE - 1, last)
            bites = range(start, end + 1, BATCH)
            dropped += sum((yield [self.call("array_forget", array_id, i, min(i + BATCH - 1, end)) for i in bites]))
        return dropped

    def forget(
        self, *, state: State | str | None = None, older_than: float = 0.0, keep: int = 0, limit: int = BATCH
    ) -> Op[int]:
        """One bite of dropping ended tasks that ended ``older_than`` seconds ago, and all beyond the newest ``keep``;
        call until it answers 0."""
        states = [str(state)] if state else ["completed", "failed", "cancelled"]
        if "cancelled" in states:
            states.append("array")  # cancelled before any of it was made
        most = keep or 2**52
        return int((yield from self._one("task_trim", round(older_than * 1000), most, limit, *states)))

    def forget_nodes(self, *, older_than: float, limit: int = BATCH) -> Op[int]:
        """Drop nodes that have been gone for ``older_than`` seconds."""
        return int((yield from self._one("node_trim", round(older_than * 1000), limit)))

    # -- schedulers -------------------------------------------------------------------------------

    def place(self, limit: int = PLACE_BATCH) -> Op[Placed]:
        """Find nodes for pending tasks: one bounded bite."""
        placed, more, items = yield from self._one("place", nonce(), limit)
        return Placed(placed, bool(more), items.decode())

    def reserve(self, grace: float = DEFAULT_GRACE) -> Op[Reserved]:
        """Keep a node for the first blocked task, if it has waited for long enough; ``grace``: seconds that preempted
        tasks have to end."""
        task, node, preempted, looked, kept_for = yield from self._one("reserve", round(grace * 1000))
        return Reserved(task.decode() or None, node.decode() or None, preempted, looked, kept_for.decode() or None)

    def promote(self, limit: int = BATCH) -> Op[Promoted]:
        """Delayed tasks whose time has come join their queues: one bite."""
        promoted, next_ms, in_ms = yield from self._one("task_promote", limit)
        return Promoted(promoted, int(float(next_ms)) if next_ms else None, int(in_ms) / 1000 if in_ms else None)

    def sweep(self, gap: float = SWEEP_GAP, limit: int = BATCH) -> Op[tuple[int, list[str]]]:
        """Declare dead whose heartbeat has run out; answers how many, and the incarnations to reap."""
        dead, lost = yield from self._one("node_sweep", round(gap * 1000), limit)
        return dead, [entry.decode() for entry in lost]

    def reap(self, lost: str, limit: int = REAP_BATCH) -> Op[tuple[int, int]]:
        """Give back one bite of a dead incarnation's tasks: how many, and how many are left."""
        reaped, left = yield from self._one("node_reap", lost, limit)
        return reaped, left

    # -- nodes, for their agents ------------------------------------------------------------------

    def node_register(
        self,
        node_id: str,
        incarnation: str,
        total: Resources,
        *,
        labels: Sequence[str] = (),
        ttl: float = 10.0,
        host: str = "",
    ) -> Op[NodeState]:
        """Join as a new incarnation.  Raises: NodeAlive."""
        size = (total.cpu, total.memory, round(ttl * 1000))
        state = yield from self._one(
            "node_register", check_id(node_id, "node id"), incarnation, *size, host, suffix(labels)
        )
        return NodeState(state.decode())

    def node_heartbeat(self, node_id: str, incarnation: str, *, acked: int, digest: str = "") -> Op[Heartbeat]:
        """Say that the node lives, and what it believes it holds (``node.digest``; empty: it doesn't say).

        Raises:
            StaleIncarnation
        """
        state, ordered, agrees = yield from self._one("node_heartbeat", node_id, incarnation, acked, digest)
        return Heartbeat(NodeState(state.decode()), ordered, None if agrees < 0 else bool(agrees))

    def node_ledger(self, node_id: str, incarnation: str, cursor: str = "0") -> Op[Ledger]:
        """One bite of what Redis believes that the node holds; call with the cursor until it is ``"0"``.

        Raises:
            StaleIncarnation
        """
        after, ordered, flat = yield from self._one("node_ledger", node_id, incarnation, cursor)
        texts = [text(part) for part in flat]
        entries = [Entry.read(token, entry) for token, entry in zip(texts[::2], texts[1::2], strict=True)]
        return Ledger(after.decode(), ordered, entries)

    def node_poll(self, node_id: str, incarnation: str, *, acked: int, limit: int = REFILL) -> Op[list[Order]]:
        """The orders after ``acked``, at most ``limit``.  Raises: StaleIncarnation."""
        return [_order(o) for o in (yield from self._one("node_poll", node_id, incarnation, acked, limit))]

    def node_drain(self, node_id: str, *, requeue: bool = False, grace: float = DEFAULT_GRACE) -> Op[NodeState]:
        """No new tasks for a node; with ``requeue`` what runs there is stopped and goes back to its old place.

        Raises:
            NodeNotFound
        """
        return (yield from self._drain(node_id, "", True, requeue, grace))

    def node_closing(self, node_id: str, incarnation: str) -> Op[NodeState]:
        """No new tasks for this incarnation: its agent is about to stop.  Raises: StaleIncarnation, NodeNotFound."""
        return (yield from self._drain(node_id, incarnation, False, False, 0))

    def _drain(self, node_id: str, incarnation: str, keep: bool, requeue: bool, grace: float) -> Op[NodeState]:
        cursor = b"0"
        while True:
            state, cursor = yield from self._one(
                "node_drain", node_id, incarnation, int(keep), int(requeue), round(grace * 1000), cursor
            )
            if cursor == b"0":
                return NodeState(state.decode())

    def node_undrain(self, node_id: str) -> Op[NodeState]:
        """A drained node takes tasks again.  Raises: NodeNotFound."""
        return NodeState((yield from self._one("node_undrain", node_id)).decode())

    def node_reload(self, node_id: str) -> Op[NodeState]:
        """Tasks on a node begin in new processes from now on: they find new code.  Raises: NodeNotFound, WrongState."""
        return NodeState((yield from self._one("node_reload", node_id)).decode())

    def node_fault(self, node_id: str, incarnation: str, text: str) -> Op[NodeState]:
        """A fault of its machine keeps the node from beginning tasks; empty: none does any more.

        Raises:
            StaleIncarnation
        """
        return NodeState((yield from self._one("node_fault", node_id, incarnation, text[:MAX_FAULT])).decode())

    def node_leave(self, node_id: str, incarnation: str, *, crashed: bool = False) -> Op[bool]:
        """The node is no more; False if this incarnation was gone already."""
        return bool((yield from self._one("node_leave", node_id, incarnation, int(crashed))))

    def task_start(self, node_id: str, incarnation: str, tokens: Sequence[str]) -> Op[int]:
        """Report that attempts run.  Raises: StaleIncarnation."""
        return int((yield from self._one("task_start", node_id, incarnation, *tokens)))

    def task_finish(
        self, node_id: str, incarnation: str, *, acked: int, reports: Sequence[Report], limit: int = REFILL
    ) -> Op[Finished]:
        """Report ends of attempts and get the next orders, in one call.  Raises: StaleIncarnation."""
        arguments: list[Argument] = []
        for r in reports:
            arguments += (
                r.token,
                r.task_id,
                r.outcome,
                "" if r.ran is None else round(r.ran * 1000),
                r.reason or "",
                r.result or b"",
                r.error or "",
                "" if r.exit_code is None else r.exit_code,
                r.output,
            )
        outcomes, orders = yield from self._one(
            "task_finish", node_id, incarnation, acked, nonce(), limit, random.random(), *arguments
        )
        return Finished([o.decode() for o in outcomes], [_order(o) for o in orders])

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

    # -- settings ---------------------------------------------------------------------------------

    def set_setting(self, name: str, value: float | str) -> Op[None]:
        """Change a setting that all processes share; ``"default"`` resets it.

        Raises:
            InvalidValue: there is no such setting, or it can't be that.
        """
        setting = SETTINGS.get(name)
        if setting is None:
            raise InvalidValue(f"no setting {name!r}; there are {', '.join(SETTINGS)}")
        try:
            text = setting.show(setting.parse(value))
        except InvalidValue as error:
            raise InvalidValue(f"{name} {error}") from None
        command: Command = ("HSET", self.keys.settings, name, text)
        yield [command]


def note(text: str | None) -> str:
    """Free text for the decision log, whose items are parted by spaces."""
    words = "_".join((text or "").split())[:200]
    return "".join(c if c.isprintable() else "?" for c in words)


def _order(raw: list[Any]) -> Order:
    """An order as ``_orders.lua`` gives it. One that can't be read is one that says so: those behind it are others'."""
    try:
        return _read_order(raw)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        token, task_id = (str(part, "utf-8", "replace") for part in (*raw[2:4], b"", b"")[:2])
        return Garbled(int(raw[0]), token, task_id, f"its order can't be read ({type(error).__name__}: {error})")


def _read_order(raw: list[Any]) -> Order:
    number, kind = raw[0], raw[1]
    if kind == b"void":
        return Void(number)
    if kind == b"reload":
        return Reload(number)
    token, task_id = raw[2].decode(), raw[3].decode()
    if kind == b"stop":
        return Stop(number, token, task_id, int(raw[4]) / 1000)
    if kind == b"resize":
        return Resize(number, token, task_id, need_of(raw[4].decode()))
    need = need_of(raw[8].decode())
    maximum = Resources(int(raw[9] or need.cpu), int(raw[10] or need.memory))
    for amount in (need, maximum):
        if not (1 <= amount.cpu <= MAX_CPU and 1 <= amount.memory <= MAX_MEMORY):
            raise ValueError(f"{amount.cpu} CPU, {amount.memory} MB")
    return Start(
        number=number,
        token=token,
        task_id=task_id,
        attempt=_within(raw[4], 2**52),
        function=raw[5].decode(),
        arguments=raw[6],
        payload_bytes=_within(raw[7], 2**52),
        allocation=need,
        maximum=maximum,
        time_limit=_within(raw[11], 10**12) / 1000 if raw[11] else None,
        elastic=raw[12].decode(),
    )


def _within(text: bytes, most: int) -> int:
    number = int(text)
    if not 0 <= number <= most:
        raise ValueError(f"{number} isn't between 0 and {most}")
    return number
