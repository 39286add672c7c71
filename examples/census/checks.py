"""Was it right? Each check returns what is wrong, nothing if all is well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.census.tasks import TALLY, Counts, count_file
from examples.census.watch import Seen
from examples.census.workload import Source
from rq_sched import Client
from rq_sched.model.node import NodeInfo
from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo


@dataclass
class Outcome:
    """Everything that a run has left to look at."""

    sources: Mapping[str, Source]  # by task id
    tasks: Mapping[str, TaskInfo]
    nodes: Sequence[NodeInfo]
    completed_events: Counter[str]
    seen: Seen
    folder: Path
    seconds: float


def gather(client: Client, sources: Mapping[str, Source], seen: Seen, folder: Path, seconds: float) -> Outcome:
    """Read what the run has left in Redis."""
    tasks = {info.task_id: info for info in client.tasks(limit=2 * len(sources) + 100)}
    ends = Counter(event.task_id or "" for event in client.events() if event.type == "completed")
    return Outcome(sources, tasks, client.nodes(), ends, seen, folder, seconds)


def all_completed(outcome: Outcome) -> Iterator[str]:
    """every task completed"""
    for task_id, source in outcome.sources.items():
        info = outcome.tasks.get(task_id)
        if info is None or info.state is not State.COMPLETED:
            yield f"{source.name} is {info.state if info else 'lost'}: {info.error if info else ''}"


def exactly_once(outcome: Outcome) -> Iterator[str]:
    """each ran exactly once (by a file that the tasks write, by the decision log, by the attempts)"""
    runs = Counter((outcome.folder / TALLY).read_text().splitlines())
    for task_id, source in outcome.sources.items():
        info = outcome.tasks.get(task_id)
        counts = runs[str(source.path)], outcome.completed_events[task_id], info.attempt if info else 0
        if counts != (1, 1, 1):
            yield f"{source.name}: {counts[0]} runs, {counts[1]} ends, {counts[2]} attempts"
    if len(runs) != len(outcome.sources):
        yield f"{len(runs)} files were read, not {len(outcome.sources)}"


def same_counts(outcome: Outcome) -> Iterator[str]:
    """counted again in this process, without rq-sched, each file gives the same"""
    found = results(outcome)
    for task_id, source in outcome.sources.items():
        expected = count_file(str(source.path))
        if found.get(task_id) != expected:
            yield f"{source.name}: {found.get(task_id)}, not {expected}"


def sums_agree(outcome: Outcome) -> Iterator[str]:
    """the bytes counted are the bytes on disk"""
    counted = sum(result["bytes"] for result in results(outcome).values())
    on_disk = sum(source.size for source in outcome.sources.values())
    if counted != on_disk:
        yield f"{counted} bytes counted, {on_disk} on disk"


def never_too_much(outcome: Outcome) -> Iterator[str]:
    """no node was ever above its total (ledgers sampled all along, and the invariant checker)"""
    yield from outcome.seen.wrong
    if not outcome.seen.samples or not outcome.seen.audits:
        yield "nothing was sampled"


def all_given_back(outcome: Outcome) -> Iterator[str]:
    """in the end nothing is allocated"""
    for node in outcome.nodes:
        if node.free != node.total or node.running:
            yield f"{node.node_id}: {node.free} of {node.total} free, {node.running} allocations"


CHECKS: tuple[Callable[[Outcome], Iterator[str]], ...] = (
    all_completed, exactly_once, same_counts, sums_agree, never_too_much, all_given_back,
)  # fmt: skip


def results(outcome: Outcome) -> dict[str, Counts]:
    """What the tasks returned, by task id."""
    tasks = (outcome.tasks.get(task_id) for task_id in outcome.sources)
    return {info.task_id: info.result for info in tasks if info is not None and info.state is State.COMPLETED}


def failures(outcome: Outcome) -> Iterator[tuple[str, list[str]]]:
    """Each check's words with what is wrong."""
    for check in CHECKS:
        yield check.__doc__ or check.__name__, list(check(outcome))
