"""What deaths cost, held against what was seen on the spot: crashes, poison, suspects.

Each crash that Redis charges must be a death that happened: of the task's own process, or of its node (it was killed,
lost, frozen, cut off) when the task had started. A node's death must be charged to all that had started there. At the
limit, and only there, the task fails as poison; where others ran beside it when its node died, it becomes a suspect
instead. Whoever isn't a suspect, or isn't any more, needs what it was submitted with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rq_sched.link.scripts import Call
from rq_sched.model.classes import need_of
from rq_sched.model.resources import Resources
from tests.faults.sim.machines import Machine, Run
from tests.faults.sim.people import Known

CLEARS = ("completed", "failed", "cancelled", "retry")
"""Events after which a task isn't a suspect any more."""


@dataclass(slots=True)
class History:
    """What the decision log said of one task."""

    placed: list[float] = field(default_factory=list)
    ends: int = 0
    asked: int = 0
    attempt: int = 0
    started: frozenset[int] = frozenset()  # attempts whose start was reported
    crashes: int = 0  # deaths that count, since somebody asked for another run
    suspect: bool = False


class Charges:
    """Watches who is charged what.

    Parameters:
        lost: when Redis last came back without its last writes.
        violated: hears of what is wrong.
    """

    def __init__(
        self,
        known: dict[str, Known],
        machines: dict[str, Machine],
        runs: dict[str, list[Run]],
        history: dict[str, History],
        looked: Counter[str],
        lost: Callable[[], float],
        violated: Callable[[str], None],
    ) -> None:
        self._known = known
        self._machines = machines
        self._runs = runs
        self._history = history
        self._looked = looked
        self._lost = lost
        self._violated = violated

    def back(self, call: Call, task_id: str, node_id: str | None, attempt: int, why: str) -> None:
        """A task was given back (``requeued``)."""
        history = self._history[task_id]
        if why == "asked":
            history.crashes, history.suspect = 0, False
        elif why == "crashed":
            self._charged(call, task_id, node_id or "", attempt)
            if history.crashes >= self._limit(task_id):
                self._violated(f"{task_id} lives on after {history.crashes} deaths of {self._limit(task_id)}")
        elif why == "suspect":
            self._confirm(call, task_id, node_id or "", attempt)
            self._looked["suspects"] += 1
            history.suspect = True
            if history.crashes + 1 < self._limit(task_id) or call.script.name != "node_reap":
                self._violated(f"{task_id} is a suspect after {history.crashes} deaths of {self._limit(task_id)}")
        elif why == "returned" and call.script.name == "node_reap":
            left = str(call.arguments[1]).endswith(":left")
            if attempt in history.started and not left and not self._void(task_id):
                self._violated(f"{task_id} had started on {node_id}, which died, and isn't charged")

    def ended(self, call: Call, task_id: str, node_id: str | None, attempt: int, why: str | None) -> None:
        """A task has ended, or waits for its next attempt."""
        history = self._history[task_id]
        if why == "poison":
            self._charged(call, task_id, node_id or "", attempt)
            self._looked["poison"] += 1
            if history.crashes != self._limit(task_id):
                self._violated(f"{task_id} is poison after {history.crashes} deaths of {self._limit(task_id)}")
            if call.script.name == "node_reap":
                self._was_alone(call, task_id, attempt)
        if history.suspect:
            self._looked["suspects cleared"] += 1
        history.suspect = False

    def _limit(self, task_id: str) -> int:
        return self._known[task_id].request.crash_limit

    def _void(self, task_id: str) -> bool:
        """Whether Redis has lost writes since it was placed: who left in order may count as dead then."""
        return self._history[task_id].placed[-1] <= self._lost()

    def _charged(self, call: Call, task_id: str, node_id: str, attempt: int) -> None:
        self._history[task_id].crashes += 1
        self._confirm(call, task_id, node_id, attempt)

    def _confirm(self, call: Call, task_id: str, node_id: str, attempt: int) -> None:
        """It died, as seen on the spot."""
        runs = [run for run in self._runs[task_id] if run.attempt == attempt and run.machine.node_id == node_id]
        if self._void(task_id):
            return
        if call.script.name == "node_reap":
            incarnation = str(call.arguments[1]).split(":")[1]
            if incarnation not in self._machines[node_id].befallen:
                self._violated(f"{task_id} is charged for the death of {node_id}:{incarnation}, which nothing befell")
            if attempt not in self._history[task_id].started and not runs:
                self._violated(f"{task_id} is charged for the death of {node_id}, and had never begun")
        elif not any(run.how == "died" for run in runs):
            self._violated(f"{task_id} is charged for its own death on {node_id}: {[run.how for run in runs]}")

    def _was_alone(self, call: Call, task_id: str, attempt: int) -> None:
        """Nobody else ran on its node when that was lost."""
        incarnation = str(call.arguments[1]).split(":")[1]
        if self._void(task_id) or not any(
            run.attempt == attempt and run.incarnation == incarnation for run in self._runs[task_id]
        ):
            return
        beside = [
            run.task_id
            for other, runs in self._runs.items()
            for run in runs
            if other != task_id and run.incarnation == incarnation and run.how == "lost"
        ]
        if beside:
            self._violated(f"{task_id} is poison because its node died, and so may be {beside}")

    # -- needs --------------------------------------------------------------------------------------

    def needs(self, task_id: str, task_class: bytes, asked: bytes | None, pending: bool) -> None:
        """A task's record says that it needs this; ``asked``: what a suspect asked for."""
        request = self._known[task_id].request
        submitted = Resources(request.cpu_needed, int(request.memory_needed))
        suspect = self._history[task_id].suspect
        needs = need_of(task_class.decode())
        if not suspect and (needs != submitted or asked is not None):
            self._violated(f"{task_id} isn't a suspect, and needs {needs} instead of {submitted} (asked: {asked!r})")
        if suspect and pending and needs not in [machine.total for machine in self._machines.values()]:
            self._violated(f"{task_id} is a suspect, and needs {needs}, which is no whole machine")
