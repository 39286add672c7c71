"""Which nodes ``up`` runs: those of a file, or the machine's cores and memory, divided."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rq_sched.cli.machine import machine_size
from rq_sched.errors import InvalidValue, UsageError
from rq_sched.model.ids import check_id
from rq_sched.model.labels import parse_labels
from rq_sched.model.offers import NONE, Offers, parse_offers
from rq_sched.model.resources import Resources, parse_cpu, parse_memory
from rq_sched.worker.devices import with_cards


class LocalNode(NamedTuple):
    """A node to run."""

    node_id: str
    total: Resources
    labels: tuple[str, ...] = ()
    resources: Offers = NONE


def divide_machine(
    number: int,
    cpu: int | None,
    memory: int | None,
    labels: tuple[str, ...] = (),
    resources: Sequence[str] = (),
) -> list[LocalNode]:
    """``number`` nodes, each with these labels and resources; what isn't given is the machine's, divided among them.

    Raises:
        UsageError: several are to have the cards of this machine.
    """
    found = with_cards(resources)
    if number > 1 and found != [*resources]:
        raise UsageError("gpu=auto is for one node, as no card may be two nodes': say what each has in a --nodes-file")
    offers = parse_offers(found, "--resource")
    machine = machine_size()
    total = Resources(cpu or max(1, machine.cpu // number), memory or max(1, machine.memory // number))
    return [LocalNode(f"node-{n}", total, labels, offers) for n in range(1, number + 1)]


def read_nodes(path: Path) -> list[LocalNode]:
    """The nodes in a file: JSON Lines, or CSV with a heading.

    Raises:
        InvalidValue: names the line and what is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"--nodes-file {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    nodes: dict[str, LocalNode] = {}
    for number, record in _json_records(path, text) if text.lstrip().startswith("{") else _csv_records(text):
        try:
            node = _node(record)
            if node.node_id in nodes:
                raise InvalidValue(f"the node {node.node_id} stands there twice")
        except UsageError as error:
            raise InvalidValue(f"{path}, line {number}: {error}") from None
        nodes[node.node_id] = node
    if not nodes:
        raise InvalidValue(f"{path}: no nodes in it")
    return list(nodes.values())


def _node(record: Mapping[str, Any]) -> LocalNode:
    missing = [name for name in ("node_id", "total_cpu", "total_memory") if record.get(name) in (None, "")]
    if missing:
        raise InvalidValue(f"{missing[0]} is missing (needed are node_id, total_cpu, total_memory)")
    total = Resources(parse_cpu(record["total_cpu"], "total_cpu"), parse_memory(record["total_memory"], "total_memory"))
    return LocalNode(
        check_id(record["node_id"], "node id"),
        total,
        parse_labels(record.get("labels") or ""),
        parse_offers(record.get("resources") or ""),
    )


def _json_records(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InvalidValue(f"{path}, line {number}: broken JSON: {error}") from None
        if not isinstance(record, dict):
            raise InvalidValue(f"{path}, line {number}: not a JSON object")
        yield number, record


def _csv_records(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    for record in reader:
        yield reader.line_num, record
