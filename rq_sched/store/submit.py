"""Submitting tasks: in batches that let no script run long, and as safe as asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from typing import Any

from rq_sched.errors import DurabilityNotReached
from rq_sched.link import Op, Request
from rq_sched.link.requests import Lazy
from rq_sched.link.scripts import Argument, Call
from rq_sched.model.after import id_of, in_order
from rq_sched.model.arrays import extent, owner
from rq_sched.model.durability import Durability
from rq_sched.model.schema import FEATURES
from rq_sched.model.signing import Signer
from rq_sched.model.task import TaskRequest
from rq_sched.store.base import BATCH, PIPELINE, Base, nonce
from rq_sched.store.keys import Keys
from rq_sched.store.requests import NAMED, encode
from rq_sched.store.safekeeping import Safekeeping, answer_seconds

SUBMIT_PLACINGS = 8
"""Placings that a submit makes itself: a task that finds room needn't wait for a scheduler to wake."""
BATCH_BYTES = 512 * 1024
"""Bytes of arguments a submit call takes."""
WORDS = {1: "new", 0: "same", -1: "conflict", -2: "crowded"}
ORPHAN = "orphan "
"""How the outcome begins of one that would wait for a task that there isn't; its id follows."""
ACCEPTED = ("new", "same")


class Submit(Base):
    """Submitting. Parameters: as ``Store``, with the keys of its namespace."""

    def __init__(self, keys: Keys, now_ms: Any, placings: int, durability: Durability, signing_key: str | None) -> None:
        super().__init__(keys, now_ms)
        self._signer = Signer(signing_key, keys.namespace) if signing_key is not None else None
        self._safekeeping = Safekeeping(self.keys, durability) if durability.waits else None
        self.answer_seconds = answer_seconds(durability)
        """How long a link must wait for an answer."""
        self._placings = placings

    def submit(self, requests: Sequence[TaskRequest], *, watch: str | None = None) -> Op[list[str]]:
        """Submit checked requests. For each: ``new``, ``same`` (it is here already), ``conflict`` (the id is another
        request's), ``crowded`` (too many label sets wait) or ``orphan ID`` (it would wait for a task that there isn't;
        ``orphan ID:result``: for the result of an array; ``orphan ID:each``: for the elements of what is no array of
        the same indexes; ``orphan ID:many``: as many as may wait for its elements): the last three aren't submitted.
        ``watch``: a channel to be told of their ends (see ``watch``). Tasks may wait for others of the same call, in
        any order.

        Raises:
            DurabilityNotReached: they are accepted, and not (yet) as safe as asked for.
            FeatureMissing: one needs what a worker or scheduler that lives doesn't know, or none lives.
            Unsendable: one has arguments that can't be sent; some of those before it may have been submitted.
            InvalidValue: some wait for each other.
        """
        yield from self._use_features(requests)
        safe = self._safekeeping
        if safe is not None:
            yield from safe.check()
        answers: list[int | bytes]
        short: list[str] = []
        ordered = in_order(requests)
        graph = ordered is not requests or any(request.infeasible != "wait" for request in requests)
        if graph:
            answers = yield from self._submit_graph(ordered, watch or "", short)
        else:
            answers = yield from self._send(self._calls(ordered, watch or ""), short)
        outcomes = [_outcome(answer) for answer in answers]
        if graph:
            of_each = dict(zip(map(id, ordered), outcomes, strict=True))
            outcomes = [of_each[id(request)] for request in requests]
        if short:
            raise _not_safe(requests, outcomes, short[0])
        return outcomes

    def _use_features(self, requests: Sequence[TaskRequest], *more: str) -> Op[None]:
        """What these need, and ``more``, is in use from now on.  Raises: FeatureMissing."""
        for feature, is_needed in FEATURES.items():
            if feature not in self.in_use and (feature in more or any(map(is_needed, requests))):
                yield from self.use_feature(feature)

    def use_feature(self, feature: str) -> Op[bool]:
        """From now on a feature is in use in this namespace; False: it was already.

        Raises:
            FeatureMissing: a process that lives doesn't know it; the message names it. Or none lives.
        """
        new = bool((yield from self._one("feature_use", feature)))
        self.in_use.add(feature)
        return new

    def _calls(self, requests: Sequence[TaskRequest], watch: str) -> Iterator[Request]:
        """The script calls that submit these: a batch of tasks each, or an array."""
        batch: list[Argument] = []
        count = size = 0
        for request in requests:
            encoded = encode(request, self._signer)
            if request.array is None:
                batch += encoded
                count += 1
                size += len(encoded[-1])
            if batch and (request.array is not None or count == BATCH or size > BATCH_BYTES):
                yield self.call("task_submit", nonce(), self._placings, watch, *batch)
                batch, count, size = [], 0, 0
            if request.array is not None:
                indexes = extent(str(request.array))
                yield self.call("array_submit", nonce(), self._placings, watch, *indexes, *encoded)
        if batch:
            yield self.call("task_submit", nonce(), self._placings, watch, *batch)

    def graph_calls(self, requests: Sequence[TaskRequest], watch: str = "") -> Iterator[Call]:
        """The same where some wait for others, which stand before them, or are there; or may end at once."""
        batch: list[Argument] = []
        count = size = names = 0
        for request in requests:
            encoded = encode(request, self._signer)
            named = request.after[:NAMED]
            if batch and (count == BATCH or size > BATCH_BYTES or names + len(named) > NAMED):
                yield self.call("graph_submit", watch, *batch)
                batch, count, size, names = [], 0, 0, 0
            batch += [*encoded, str(request.array or ""), len(request.after), ",".join(named)]
            count, size, names = count + 1, size + len(encoded[-1]), names + len(named)
            if len(request.after) > NAMED:
                yield self.call("graph_submit", watch, *batch)
                batch, count, size, names = [], 0, 0, 0
                for i in range(NAMED, len(request.after), NAMED):
                    yield self.call("task_await", str(request.task_id), i, *request.after[i : i + NAMED])
        if batch:
            yield self.call("graph_submit", watch, *batch)

    def _submit_graph(self, requests: Sequence[TaskRequest], watch: str, short: list[str]) -> Op[list[int | bytes]]:
        """Submit tasks of which some wait for others, which stand before them, or are there.

        What isn't named in the first call about a task must be there before it: else that task would be cancelled."""
        answers: list[int | bytes] = []
        for is_wide, group in groupby(requests, lambda request: len(request.after) > NAMED):
            for part in [[one] for one in group] if is_wide else [list(group)]:
                missing = (yield from self._missing(part[0])) if is_wide else None
                if missing is not None:
                    answers.append(missing.encode())
                else:
                    answers += yield from self._send(self.graph_calls(part, watch), short)
        return answers

    def _missing(self, request: TaskRequest) -> Op[str | None]:
        """The first of those that a new task would wait for, that isn't there (of an element: nor its array)."""
        ids = [str(request.task_id), *(id_of(name) for name in request.after)]
        here, *found = yield from self.paged([("EXISTS", self.keys.task(owner(task_id))) for task_id in ids])
        return (
            None
            if here
            else next((task_id for task_id, is_there in zip(ids[1:], found, strict=True) if not is_there), None)
        )

    def _send(self, calls: Iterator[Request], short: list[str]) -> Op[list[int | bytes]]:
        """The answers of these, which are made as they are sent, while Redis works on those before."""
        answers: list[int | bytes] = []
        for first in calls:
            answers += yield from self._safely(chain([first], islice(calls, PIPELINE - 1)), short)
        return answers

    def _safely(self, calls: Iterable[Request], short: list[str]) -> Op[list[Any]]:
        """One pipeline of submits, and the wait at its end; what is missing goes to ``short``."""
        barriers = self._safekeeping.barriers() if self._safekeeping is not None else []
        replies = yield Lazy(chain(calls, barriers))
        made = len(replies) - len(barriers)
        if self._safekeeping is not None and (missing := self._safekeeping.shortfall(replies[made:])):
            short.append(missing)
        return [answer for reply in replies[:made] if isinstance(reply, list) for answer in reply]


def _outcome(answer: int | bytes) -> str:
    return ORPHAN + answer.decode() if isinstance(answer, bytes) else WORDS[answer]


def _not_safe(requests: Sequence[TaskRequest], outcomes: list[str], why: str) -> DurabilityNotReached:
    ids = [str(r.task_id) for r, outcome in zip(requests, outcomes, strict=True) if outcome in ACCEPTED]
    what = f"task {ids[0]} is" if len(ids) == 1 else f"{len(ids)} tasks are"
    return DurabilityNotReached(f"{what} accepted, but not (yet) as safe as asked for: {why}", ids, outcomes)
