"""What is done with tasks after their submit: cancelled, held, prioritised, requeued, watched, forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rq_sched.link import Op
from rq_sched.link.scripts import Argument
from rq_sched.model.arrays import extent
from rq_sched.model.ids import known_id
from rq_sched.model.states import CancelOutcome, State
from rq_sched.model.task import DEFAULT_GRACE
from rq_sched.store.answers import Cancelled
from rq_sched.store.base import BATCH, PIPELINE, Base, nonce
from rq_sched.store.elements import made_stretches


class Tasks(Base):
    """The transitions that users ask for."""

    def cancel(
        self,
        task_id: str,
        *,
        requeue: bool = True,
        grace: float = DEFAULT_GRACE,
        reason: str | None = None,
        operation: str | None = None,
        waiting: bool = False,
    ) -> Op[Cancelled]:
        """Stop a task; it goes to the back of its equals, or with ``requeue=False`` ends as cancelled. Of an array: all
        elements that haven't ended.

        Parameters:
            operation: a call with the same text again changes nothing.
            waiting: whether to leave alone what is on a node, assigned or running: the outcome is `unchanged`.

        Raises:
            TaskNotFound
        """
        replies: dict[str, Any] = {}
        outcome, state, attempt = yield from self._with_elements(
            "task_cancel",
            task_id,
            operation or nonce(),
            int(requeue),
            round(grace * 1000),
            note(reason),
            int(waiting),
            replies_of_elements=replies,
        )
        stopping = {t: answer[2] for t, answer in replies.items() if answer[0] == b"stopping"}
        word, now = outcome.decode(), State(state.decode())
        what = CancelOutcome.already(now) if word == "already" else CancelOutcome(word)
        return Cancelled(what, now, attempt, stopping)

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
        self, name: str, task_id: str, *arguments: Argument, replies_of_elements: dict[str, Any] | None = None
    ) -> Op[Any]:
        """A change of a task. Of an array the script changes what isn't made yet; what is made, and hasn't ended,
        follows one by one, as far as the change can be made there: ``replies_of_elements`` gets the replies."""
        reply, live = yield [self.call(name, known_id(task_id), *arguments), ("SMEMBERS", self.keys.live(task_id))]
        for i in range(0, len(live), PIPELINE):
            ids = [f"{task_id}/{index.decode()}" for index in live[i : i + PIPELINE]]
            replies = yield [replace(self.call(name, t, *arguments), may_refuse=True) for t in ids]
            if replies_of_elements is not None:
                replies_of_elements |= {t: r for t, r in zip(ids, replies, strict=True) if not isinstance(r, Exception)}
        return reply

    def watch(self, task_ids: Sequence[str], channel: str) -> Op[list[State | None]]:
        """Ask to be told on ``keys.done(channel)`` when tasks end (``read_notification``); answers their states now."""
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
        unmade = (yield [("HGET", self.keys.array(array_id), "unmade")])[0]
        made, _ = yield from made_stretches(self.keys, array_id, first, last)
        dropped = 0
        for begin, end in made:  # at least one call, also where none was made: the array goes with the last
            dropped += yield from self.forget_stretch(array_id, begin, max(begin, end))
        return dropped + int(unmade or 0)

    def forget_stretch(self, array_id: str, first: int, last: int) -> Op[int]:
        """Drop those elements of an ended array that have a record, from one index to another."""
        dropped = 0
        for start in range(first, last + 1, BATCH * PIPELINE):
            end = min(start + BATCH * PIPELINE - 1, last)
            batches = range(start, end + 1, BATCH)
            dropped += sum((yield [self.call("array_forget", array_id, i, min(i + BATCH - 1, end)) for i in batches]))
        return dropped

    def forget(
        self, *, state: State | str | None = None, older_than: float = 0.0, keep: int = 0, limit: int = BATCH
    ) -> Op[int]:
        """One batch of dropping ended tasks that ended ``older_than`` seconds ago, and all beyond the newest ``keep``;
        call until it answers 0."""
        states = [str(state)] if state else ["completed", "failed", "cancelled"]
        if "cancelled" in states:
            states.append("array")  # cancelled before any of it was made
        most = keep or 2**52
        return int((yield from self._one("task_trim", round(older_than * 1000), most, limit, *states)))


def note(text: str | None) -> str:
    """Free text for the decision log, whose items are parted by spaces."""
    words = "_".join((text or "").split())[:200]
    return "".join(c if c.isprintable() else "?" for c in words)
