"""Whoever can write to Redis can't act on the terminal of those who look: no command prints a control character."""

from __future__ import annotations

import pytest

from rq_sched.cli import main
from rq_sched.link import Link
from rq_sched.model.values import pack
from rq_sched.store.keys import Keys
from tests.cli.kit import Cli, HandCell, ask
from tests.support.records import alter, attempt, outcome, request

ESC = "\x1b[31m\x9b31m\r\x07\x08\u202e"
BAD = [c for c in ESC if not c.isprintable()]


@pytest.fixture
def hostile(link: Link, namespace: str) -> HandCell:
    """Tasks, a node and a log, in which every text that may be hostile is."""
    cell = HandCell(link, namespace)
    keys = Keys(namespace)
    cell.node("n1", 4, 4096, ttl=600)
    cell.submit("done", "failed", "runs", "waits", memory=1)
    cell.run_one("done", result=b"\xa4\x1b[3m", output=ESC.encode())
    cell.run_one("failed", outcome="failed", reason="error", error=f"Boom {ESC}\nsecond {ESC}")
    cell.begin("runs")
    for task_id in ("done", "failed", "runs", "waits"):
        alter(link.run, keys, request(task_id, run=f"exec:/x{ESC}"))
    arguments = {
        "done": pack([[ESC], {ESC: ESC}], ""),
        "waits": pack([[b"\x9b", {ESC: [ESC]}], {}], ""),
        "runs": b"\x92\x91\xa6\x1b[31m\x9b\x80",  # no UTF-8
        "failed": b"\xc1",  # no msgpack
    }
    alter(link.run, keys, *(request(task_id, **{"with": packed}) for task_id, packed in arguments.items()))
    alter(link.run, keys, outcome("failed", reason=f"error{ESC}"), attempt("runs", reason=f"stopping{ESC}"))
    link.run(ask("HSET", keys.node("n1"), "host", f"host{ESC}"))
    link.run(ask("XADD", keys.events, "*", "t", f"{ESC}", f"odd{ESC}", f"placed{ESC}"))
    odd = {f"field{ESC}": f"value{ESC}", "class": "1:1", "turn": "0", "digest": "x", "state": "held"}
    alter(link.run, keys, request("odd", **odd))
    link.run(ask("SET", keys.ended("odd"), f"field{ESC}=value{ESC}\nstate=retry\nerror={ESC}"))
    return cell


@pytest.mark.no_audit("the records are made up")
@pytest.mark.parametrize(
    "words",
    [
        "status done failed runs waits odd", "list", "result done", "result failed", "logs done", "explain failed",
        "explain runs", "explain waits", "explain odd", "nodes", "info", "events", "inspect", "inspect done",
        "inspect failed", "inspect odd", "inspect n1", "doctor", "wait failed", "cancel done", "requeue odd",
        "priority --to 3 waits", "drain n1", "forget failed",
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_nothing_acts_on_the_terminal(
    hostile: HandCell, words: str, as_json: bool, cli: Cli, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--redis", redis_url, "--namespace", hostile.store.keys.namespace, *(["--json"] if as_json else [])]
    capsys.readouterr()
    code = main([*base, *words.split()])
    said = capsys.readouterr()
    assert "internal error" not in said.err, said.err
    assert code in (0, 1, 2, 3, 69), said
    if words == "logs done" and not as_json:
        return  # what a task printed is shown as it came: test_cli_tasks says how
    found = [c for c in said.out + said.err if c in BAD]
    assert not found, (found, said)
