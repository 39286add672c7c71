"""What is missing for tasks to be placed, and what to do about it: a scheduler, a node, a node that is large enough."""

from __future__ import annotations

from collections.abc import Sequence

from rq_sched.cli import show
from rq_sched.cli.failure import print_warning
from rq_sched.cli.options import Invocation
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.states import Reason
from rq_sched.model.task import TaskInfo

IDLE = 3.0
"""Seconds without a scheduler at work after which it is worth a word (each shows itself twice a second)."""
MAX_NODES = 3


def no_scheduler(seen: float | None) -> str | None:
    """What to say where no scheduler is at work; None: one is. ``seen``: seconds since one was (None: never)."""
    if seen is not None and seen <= IDLE:
        return None
    since = "has ever been at work here" if seen is None else f"has been at work for {show.duration(seen)}"
    return f"no scheduler {since}: start one (`rq-sched scheduler`)"


def too_large(info: TaskInfo) -> str:
    """That no node is enough for a task."""
    needs = show.needs(info.cpu_needed, info.memory_needed, info.require, info.resources, info.limits)
    return f"no node could hold {info.task_id} even when empty: it needs {needs} (`rq-sched nodes` shows what there is)"


def no_node(nodes: Sequence[NodeInfo]) -> str:
    """Why no node takes tasks."""
    there = [node for node in nodes if node.state is not NodeState.DEAD]
    if not there:
        return "no node is up: tasks wait until a worker is started (`rq-sched worker` or `rq-sched up`)"
    said = [f"{node.node_id} {_why_not(node)}" for node in there[:MAX_NODES]]
    if len(there) > MAX_NODES:
        said.append(f"so it is with {len(there) - MAX_NODES:,} more (`rq-sched nodes`)")
    return f"no node takes tasks: {'; '.join(said)}"


def _why_not(node: NodeInfo) -> str:
    if node.state is NodeState.DRAINING:
        return f"is draining (`rq-sched undrain {node.node_id}` takes it back)"
    return f"is {node.state}: {node.fault}" if node.fault else f"is {node.state}"


def warn_if_stuck(session: Invocation, info: TaskInfo) -> None:
    """Say on standard error when a task can't be placed as things are."""
    from rq_sched.cli.missing import no_node, too_large

    session.warned.add(str(info.reason))
    if info.reason == Reason.NO_NODES:
        print_warning(no_node(session.run(session.store.nodes())), as_json=session.json)
    elif info.reason == Reason.INFEASIBLE:
        print_warning(too_large(info), as_json=session.json)
