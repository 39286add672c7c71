"""The record of a node in Redis."""

from __future__ import annotations

from collections.abc import Mapping

from rq_sched.model.asked import units
from rq_sched.model.labels import of_suffix
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.offers import read_stocks
from rq_sched.model.reading import LAST_MS, Fields
from rq_sched.model.resources import MAX_CPU, MAX_MEMORY

_STATES = frozenset(set(NodeState) - {NodeState.UNREADABLE})


FIELDS = {
    "state": "up, faulty, draining or dead",
    "incarnation": "one registration of the node: a random id that its agent chose",
    "total_cpu": "cores",
    "total_memory": "MB",
    "labels": "those that it carries, as in class names: +gpu+ssd (none)",
    "free_cpu": "cores not allocated",
    "free_memory": "MB not allocated",
    "resources": "what else it has: NAME=INDEX,INDEX or NAME=#THOUSANDTHS, with spaces between (none)",
    "free_resources": "what of that is free: NAME=INDEX:THOUSANDTHS,INDEX:THOUSANDTHS or NAME=#THOUSANDTHS (none)",
    "surplus": "cores that elastic attempts hold beyond their need: they count as free",
    "drivers": "1: where all cores are taken, tasks without cores may still come",
    "reserved": "the task that the node is kept for",
    "running": "allocations on the ledger",
    "ends": "ms, when all of them will have ended by their time limits; absent: not known",
    "started": "how many of them have been reported as started",
    "ordered": "the number of the last order",
    "acked": "the number of the last order that the agent has acknowledged",
    "ttl": "ms that a heartbeat lasts",
    "drain": "1: a user asked for draining; outlives a restart of the node",
    "fault": "what keeps it from beginning tasks, as its agent tells; none: nothing does",
    "registered": "ms, when",
    "host": "the machine's name",
    "folders": "its own and those that requests may name, with a tab between two",
    "knows": "the version of the data's format, and the features (+NAME), that its worker knows",
}


def decode(node_id: str, record: Mapping[bytes, bytes], runs_out: float | None) -> NodeInfo:
    """The record of a node. ``runs_out`` is its score in ``nodes`` (ms), None once it is gone. A record that can't be
    read is one that says so."""

    fields = Fields(record)
    cpu, memory = fields.number("total_cpu", 0, 0, MAX_CPU), fields.number("total_memory", 0, 0, MAX_MEMORY)
    state, ttl = fields.text("state") or "dead", fields.number("ttl")
    stocks = read_stocks(fields.text("resources") or "", fields.text("free_resources") or "")
    info = NodeInfo(
        node_id=node_id,
        state=NodeState(state) if state in _STATES else NodeState.UNREADABLE,
        total_cpu=cpu,
        total_memory=memory,
        free_cpu=fields.number("free_cpu", 0, 0, MAX_CPU),
        free_memory=fields.number("free_memory", 0, 0, MAX_MEMORY),
        labels=list(of_suffix(fields.text("labels") or "")),
        total_resources={name: units(stock.total) for name, stock in stocks.items()},
        free_resources={name: units(stock.free) for name, stock in stocks.items()},
        free_indexes={name: _shares(stock.indexes) for name, stock in stocks.items() if stock.indexes is not None},
        running=fields.number("running", 0, 0),
        incarnation=fields.text("incarnation") or "",
        last_heartbeat=None if runs_out is None or not 0 < runs_out < LAST_MS else max(0.0, runs_out - ttl) / 1000,
        fault=fields.text("fault"),
    )
    if fields.unreadable:
        info.state = NodeState.UNREADABLE
    return info


def _shares(indexes: Mapping[str, int]) -> dict[str, float]:
    return {index: units(free) for index, free in indexes.items()}
