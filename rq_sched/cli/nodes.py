"""``nodes``, ``drain``, ``undrain``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from rq_sched.cli import show
from rq_sched.cli.failure import print_error
from rq_sched.cli.options import DURATION, Invocation, command, node_ids
from rq_sched.cli.table import Column, table
from rq_sched.errors import NodeNotFound, WrongState
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.task import DEFAULT_GRACE

if TYPE_CHECKING:
    from rq_sched.link import Op


@command("nodes")
@click.pass_obj
def nodes_command(session: Invocation) -> None:
    """List the nodes: state, used and total CPU, memory and resources, tasks, last heartbeat, labels; and what is
    wrong with the machines of those that are faulty."""
    nodes = sorted(session.run(session.store.nodes()), key=_wrong_first)
    if session.json:
        for node in nodes:
            show.json_line(node.to_dict())
    elif nodes:
        _print_nodes(nodes)
    else:
        show.paragraph("no nodes: start a worker (`rq-sched worker`), or everything on this machine (`rq-sched up`)")


def _print_nodes(nodes: Sequence[NodeInfo]) -> None:
    columns = [
        Column("NODE"), Column("STATE", state=True), Column("CPU used/total", right=True, rank=2, short="CPU"),
        Column("MEMORY used/total", right=True, rank=2, short="MEMORY"),
        Column("RESOURCES used/total", rank=2, short="RESOURCES", sparse=True), Column("TASKS", right=True, rank=3),
        Column("HEARTBEAT", right=True, rank=4), Column("LABELS", rank=5, cut=True, sparse=True),
        Column("FAULT", rank=6, fold=True, sparse=True),
    ]  # fmt: skip
    table(columns, map(_row, nodes))


def _wrong_first(node: NodeInfo) -> tuple[int, str]:
    """Somebody must see to those with a fault; dead ones come last."""
    return (0 if node.fault is not None else 2 if node.state is NodeState.DEAD else 1), node.node_id


def _row(node: NodeInfo) -> tuple[str, ...]:
    used_cpu, used_memory = node.total_cpu - node.free_cpu, node.total_memory - node.free_memory
    return (
        node.node_id,
        str(node.state),
        f"{used_cpu}/{node.total_cpu}",
        f"{show.format_memory(used_memory)}/{show.format_memory(node.total_memory)}",
        ", ".join(show.amounts_used(node.total_resources, node.free_resources)),
        str(node.running),
        f"{show.age(node.last_heartbeat)} ago" if node.last_heartbeat else "-",
        "+".join(node.labels),
        node.fault or "",
    )


def _each(session: Invocation, ids: Sequence[str], change: Callable[[str], Op[object]], state: str, said: str) -> int:
    code = 0
    for node_id in dict.fromkeys(ids):
        try:
            now = session.run(change(node_id))
        except NodeNotFound:
            error = NodeNotFound(f"no node {node_id} in namespace {session.space}: `rq-sched nodes` lists all")
            print_error(error.code, str(error), as_json=session.json)
            code = error.exit_status
        except WrongState as error:
            print_error(error.code, str(error), as_json=session.json)
            code = max(code, error.exit_status)
        else:
            if session.json:
                show.json_line({"node_id": node_id, "state": state or now})
            else:
                show.paragraph(said.format(node_id=node_id))
    return code


@command("drain")
@node_ids
@click.option("--requeue", is_flag=True, help="Stop what runs there and queue it again.")
@click.option("--grace", type=DURATION, default=DEFAULT_GRACE, metavar="SECONDS", show_default=True,
              help="What its processes have between SIGTERM and SIGKILL.")  # fmt: skip
@click.pass_obj
def drain_command(session: Invocation, node_ids: Sequence[str], requeue: bool, grace: float) -> int:
    """Give nodes no new tasks. What runs there ends, or goes elsewhere with --requeue.

    It holds until 'undrain', also when the node's worker is started again.
    """
    rest = "what runs there is stopped and queued again" if requeue else "what runs there goes on to its end"
    said = f"{{node_id}} gets no new tasks, {rest}; to take it back: `rq-sched undrain {{node_id}}`"

    def drain(node_id: str) -> Op[object]:
        return session.store.node_drain(node_id, requeue=requeue, grace=grace)

    return _each(session, node_ids, drain, "draining", said)


@command("undrain")
@node_ids
@click.pass_obj
def undrain_command(session: Invocation, node_ids: Sequence[str]) -> int:
    """Let drained nodes take tasks again."""
    return _each(session, node_ids, lambda node: session.store.node_undrain(node), "up", "{node_id} takes tasks again")


@command("reload")
@node_ids
@click.pass_obj
def reload_command(session: Invocation, node_ids: Sequence[str]) -> int:
    """Let nodes run new code: tasks that begin from now on do so in new processes.

    What runs goes on to its end with the code that it has. SIGHUP to a worker does the same.
    """
    said = "{node_id} begins tasks in new processes from now on"
    return _each(session, node_ids, lambda node: session.store.node_reload(node), "", said)
