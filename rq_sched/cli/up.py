"""``rq-sched up``: everything on one machine. An embedded server, schedulers and nodes, as processes of their own.

They are started in this order, and stopped in the opposite one: workers first (they report their tasks), then
schedulers, then the server. The data stay, so that the next ``up`` goes on where this one stopped.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rq_sched.cli import failure, show
from rq_sched.cli.children import LOOK_SECONDS, ChildProcess, Signals, stop_children
from rq_sched.cli.options import (
    CPU,
    DURATION,
    LABEL,
    MEMORY,
    TEXT,
    Invocation,
    children_options,
    command,
    logging_options,
    tasks_of_child,
)
from rq_sched.cli.up_nodes import LocalNode, divide_machine, read_nodes
from rq_sched.errors import OtherSchema, RedisUnavailable, UsageError
from rq_sched.model.labels import parse_labels
from rq_sched.model.node import NodeState
from rq_sched.model.offers import words_of
from rq_sched.model.schema import upgrade_command
from rq_sched.model.signing import KEY, without_key

if TYPE_CHECKING:
    from rq_sched.process.embedded import EmbeddedServer

CLI = [sys.executable, str(Path(__file__).with_name("__main__.py"))]
"""How our own command line is called: the same from a checkout and when installed."""
READY_SECONDS = 30.0
STOP_MARGIN = 5.0
"""Seconds beyond the grace that workers have to stop."""
SCHEDULER_STOP_SECONDS = 5.0


@command("up")
@click.option("--data", metavar="DIR", help="Where the data are kept (default: ~/.local/state/rq-sched).")
@click.option(
    "--nodes", "number", type=click.IntRange(1, 1000), help="How many nodes (default: 1, the machine's size)."
)
@click.option("--cpu", type=CPU, help="Cores of each node (default: the machine's, divided among the nodes).")
@click.option("--memory", type=MEMORY, help="MB of each node, or such as 4G (default: likewise).")
@click.option("--label", "labels", type=LABEL, multiple=True,
              help="A label that each node carries, for tasks that require it. May be given often.")  # fmt: skip
@click.option("--resource", "resources", type=TEXT, multiple=True, metavar="NAME=AMOUNT",
              help="What each node has for tasks that ask for it: gpu=4, gpu=auto, scratch=200000. "
                   "May be given often.")  # fmt: skip
@click.option("--nodes-file", metavar="FILE",
              help="The nodes: JSON Lines or CSV with node_id,total_cpu,total_memory[,labels,resources].")  # fmt: skip
@click.option("--schedulers", type=click.IntRange(1, 100), default=1, show_default=True, help="How many schedulers.")
@click.option(
    "--grace", type=DURATION, default=10.0, show_default=True, help="What running tasks have to end, at Ctrl-C."
)
@children_options
@logging_options("warning")
@click.pass_obj
def up_command(
    session: Invocation,
    data: str | None,
    number: int | None,
    cpu: int | None,
    memory: int | None,
    labels: Sequence[str],
    resources: Sequence[str],
    nodes_file: str | None,
    schedulers: int,
    grace: float,
    fresh: bool,
    max_tasks_per_child: int | None,
    log_level: str,
    log_format: str,
) -> int:
    """Run everything on this machine: a server (its data are kept), a scheduler, a node.

    Ctrl-C stops it in order: running tasks have --grace to end, then they are given back to the queue. Starting again
    goes on where it stopped.
    """
    from rq_sched.process.embedded import EmbeddedServer, state_dir
    from rq_sched.worker import system

    if session.redis is not None:
        raise UsageError("`up` runs a server of its own: leave --redis away, or run `rq-sched scheduler` and `worker`")
    if nodes_file is not None and (number or cpu or memory or labels or resources):
        raise UsageError(
            "with --nodes-file the nodes stand in the file: --nodes, --cpu, --memory, --label and --resource can't "
            "be given too"
        )
    tasks = tasks_of_child(fresh, max_tasks_per_child)
    _ = session.signing_key, session.space  # what is wrong with them, workers would say again and again
    carried = parse_labels(labels, "--label")
    nodes = read_nodes(Path(nodes_file)) if nodes_file else divide_machine(number or 1, cpu, memory, carried, resources)
    folder = Path(data).expanduser() if data else state_dir()
    server = EmbeddedServer(folder, announce=True)
    if KEY in os.environ:
        system.keep_private()  # tasks run as this user, too
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(Signals().catch())
        stack.callback(server.stop)
        server.start()
        session.redis = server.url
        try:
            session.run(session.store.check_schema())
        except OtherSchema as error:  # nobody else has a server on these data
            here = f"`rq-sched upgrade --data {shlex.quote(str(folder))}{_namespace_option(session)}`"
            raise OtherSchema(str(error).replace(upgrade_command(session.space), here)) from None
        common = ["--redis", server.url, "--namespace", session.space, "--with-parent", str(os.getpid()),
                  "--log-level", log_level, "--log-format", log_format]  # fmt: skip
        cluster = Cluster(session, server, signals, grace)
        cluster.schedulers = [scheduler_child(n, common) for n in range(1, schedulers + 1)]
        cluster.workers = [worker_child(node, grace, tasks, common) for node in nodes]
        stack.callback(cluster.stop)
        if cluster.start({node.node_id for node in nodes}):
            announce(session, server, nodes, schedulers)
        cluster.serve()
    return 0


def scheduler_child(number: int, common: Sequence[str]) -> ChildProcess:
    return ChildProcess(f"scheduler {number}", [*CLI, "scheduler", *common], without_key(os.environ))


def worker_child(node: LocalNode, grace: float, tasks: int, common: Sequence[str]) -> ChildProcess:
    """A worker that may run anything: only this user reaches the server's private socket."""
    size = ["--cpu", str(node.total.cpu), "--memory", str(node.total.memory)]
    labels = [word for label in node.labels for word in ("--label", label)]
    resources = [word for resource in words_of(node.resources) for word in ("--resource", resource)]
    words = [
        "worker",
        "--node-id",
        node.node_id,
        *size,
        *labels,
        *resources,
        "--allow",
        "*",
        "--allow-dir",
        "*",
        "--allow-env",
        "*",
        "--grace",
        f"{grace:g}",
    ]
    limit = ["--max-tasks-per-child", str(tasks)] if tasks else []
    return ChildProcess(f"node {node.node_id}", [*CLI, *words, *limit, *common])


class Cluster:
    """The processes of one ``up``, started and stopped in order."""

    def __init__(self, session: Invocation, server: EmbeddedServer, signals: Signals, grace: float) -> None:
        self.session = session
        self.server = server
        self.signals = signals
        self.grace = grace
        self.schedulers: list[ChildProcess] = []
        self.workers: list[ChildProcess] = []

    def start(self, node_ids: set[str]) -> bool:
        """Start everything and wait until every node has joined; False where that was broken off, or took too long."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.signals.received:
            self._look()
            with contextlib.suppress(RedisUnavailable):
                known = self.session.run(self.session.store.nodes())
                missing = node_ids - {node.node_id for node in known if node.state is not NodeState.DEAD}
                if not missing:
                    return True
            if time.monotonic() > deadline:
                self._say(
                    f"not all is ready after {READY_SECONDS:g} s: no sign of {', '.join(sorted(missing))}; still trying"
                )
                return False
            self.signals.wait(0.05)
        return False

    def serve(self) -> None:
        """Keep everything running until we are told to stop."""
        while not self.signals.received:
            self._look()
            self.signals.wait(LOOK_SECONDS)

    def stop(self) -> None:
        """Workers first: they let tasks end, and report. A second signal hurries them."""
        if not self.session.json:
            self._say(f"stopping: running tasks have {self.grace:g} s to end (Ctrl-C again: at once)")
        stop_children(self.workers, self.grace + STOP_MARGIN, self.signals)
        stop_children(self.schedulers, SCHEDULER_STOP_SECONDS, self.signals)

    def _look(self) -> None:
        if self.server.pid is None:
            self._say("the server died; it is started again")
            self.server.start()
        for child in (*self.schedulers, *self.workers):
            child.look(self._say)

    def _say(self, text: str) -> None:
        failure.tell(failure.folded(f"rq-sched: {show.safe(text)}"))


def announce(session: Invocation, server: EmbeddedServer, nodes: Sequence[LocalNode], schedulers: int) -> None:
    """Say that everything is ready, and what to do now."""
    if session.json:
        named = [
            {
                "node_id": n.node_id,
                "total_cpu": n.total.cpu,
                "total_memory": n.total.memory,
                "labels": n.labels,
                "resources": n.resources,
            }
            for n in nodes
        ]
        show.json_line({"url": server.url, "namespace": session.space, "data": str(server.data),
                        "schedulers": schedulers, "nodes": named})  # fmt: skip
        sys.stdout.flush()
        return
    how = "rq-sched" + _needed_options(session, server)
    size = nodes[0].total if len({node.total for node in nodes}) == 1 else None
    of = f" of {size}" if size and len(nodes) == 1 else f" of {size} each" if size else ""
    show.paragraph(f"ready: {show.count(len(nodes), 'node')}{of}, {show.count(schedulers, 'scheduler')}")
    show.pairs([("data  ", str(server.data))])
    for name, words in (("submit", "submit math:hypot :=3 :=4 --wait"), ("", "submit -- echo hello"),
                        ("look", "list"), ("", "nodes"), ("", "top")):  # fmt: skip
        for part in show.fold_command(f"{how} {words}", show.terminal_width(), f"  {name:<6}  ", " " * 12):
            show.line(part)
    show.pairs([("stop  ", "Ctrl-C")])
    sys.stdout.flush()


def _needed_options(session: Invocation, server: EmbeddedServer) -> str:
    """What others must say to find this server and namespace."""
    from rq_sched.process.environment import resolve_url

    options = "" if resolve_url() == server.url else f" --redis {shlex.quote(server.url)}"
    return options + _namespace_option(session)


def _namespace_option(session: Invocation) -> str:
    """What names the namespace, where it isn't the one that others take anyway."""
    from rq_sched.process.environment import resolve_namespace

    return "" if resolve_namespace() == session.space else f" --namespace {session.space}"
