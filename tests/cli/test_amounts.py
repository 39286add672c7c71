"""Resources and limits on the command line: as given, shown and explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.kit import Cli, HandCell, pairs


def test_submit_takes_them_and_status_shows_them(cli: Cli):
    for name in ("api", "db"):
        cli("limit", name, "5")
    words = ["--resource", "scratch=5000", "--resource", "gpu=0.5", "--limit", "api", "--limit", "db=2"]
    cli("submit", "m:f", "--id", "t1", "--require", "ssd", *words, "-q")
    found = cli.json("status", "t1").one
    assert (found["resources"], found["limits"]) == ({"gpu": 0.5, "scratch": 5000}, {"api": 1, "db": 2})
    needs = "1 CPU, 256 MB, gpu 0.5, scratch 5,000, label ssd, limit api, limit db 2"
    assert dict(pairs(cli("status", "t1")))["needs"] == needs
    assert cli("submit", "m:f", "--id", "t1", "--require", "ssd", *words, "-q").out == "t1\n", "the same again"
    cli("submit", "m:f", "--id", "t1", "--require", "ssd", "-q", code=2)
    cli("submit", "m:f", "--id", "t2", "-q")
    found = cli.json("status", "t2").one
    assert (found["resources"], found["limits"]) == ({}, {})


@pytest.mark.parametrize(
    ("words", "why"),
    [(["--resource", "gpu=1.5"], "must be whole, or below 1"), (["--resource", "gpu"], "such as gpu=2"),
     (["--resource", "GPU=1"], "bad name 'GPU'"), (["--limit", "api=0"], "a whole number from 1"),
     (["--resource", ""], "is empty")],
)  # fmt: skip
def test_what_is_wrong_is_told(cli: Cli, words: list[str], why: str):
    assert why in cli.json("submit", "m:f", *words, code=2).errors[0]["message"]


def test_what_a_worker_can_not_have(cli: Cli):
    for word, why in (("gpu", "such as gpu=4"), ("fpga=auto", "only gpu=auto"), ("gpu=[0,0]", "an index twice")):
        assert why in cli.json("worker", "--allow", "*", "--resource", word, code=2).errors[0]["message"]
    error = cli.json("up", "--nodes", "2", "--resource", "gpu=auto", code=2).errors[0]["message"]
    assert "gpu=auto is for one node" in error or "no card is found" in error


def test_lines_of_a_file_have_them(cli: Cli, tmp_path: Path):
    cli("limit", "api", "5")
    lines = [
        {"function": "m:f", "id": "t1", "resources": {"gpu": 2}, "limits": ["api"]},
        {"function": "m:f", "id": "t2", "resource": ["gpu=2"], "limit": {"api": 1}},
        {"function": "m:f", "id": "t3", "resources": {"gpu": 1.5}},
        {"function": "m:f", "id": "t4", "limits": ["ipa", "api"]},
        {"function": "m:f", "id": "t5"},
    ]
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    typed = cli("submit", "--from-file", str(file), code=1)
    assert "line 3: resources: gpu must be whole" in typed.err
    assert "line 4: there is no limit ipa" in typed.err
    assert "submitted 3 tasks; 2 lines refused" in typed.out
    first, second, _ = cli.json("status", "t1", "t2", "t5").json
    assert first["resources"] == second["resources"] == {"gpu": 2}
    assert first["limits"] == second["limits"] == {"api": 1}


def test_no_node_has_it(cli: Cli, hand: HandCell, tmp_path: Path):
    hand.node("n1", ttl=600)
    typed = cli("submit", "m:f", "--id", "t1", "--resource", "gpu=2", "-q")
    assert "no node could hold t1 even when empty: it needs 1 CPU, 256 MB, gpu 2 (" in typed.err
    found = cli.json("explain", "t1").one
    assert (found["reason"], found["short_gpu"], found["largest_resources"]) == ("infeasible", 1, {"gpu": 0})
    assert "none has the resource gpu. Start a node with `--resource gpu=AMOUNT`" in cli("explain", "t1").out
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps({"function": "m:f", "resources": {"gpu": 2}}))
    assert "1 task that needs 1 CPU, 256 MB, gpu 2" in cli("submit", "--from-file", str(file), "--dry-run").out


def test_what_nodes_have_is_shown(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    assert "RESOURCES" not in cli("nodes").out
    hand.node("n2", ttl=600, resources="gpu=0,1 scratch=#200000000")
    cli("submit", "m:f", "--id", "t1", "--resource", "gpu=0.5", "--resource", "scratch=5000", "-q")
    hand.begin("t1", "n2")
    assert cli.json("explain", "t1").one["holds"] == {"gpu": "0", "scratch": "5000"}
    assert "It holds 1 CPU, 256 MB, gpu 0, scratch 5000." in cli("explain", "t1").out
    node = cli.json("nodes").json[1]
    assert node["total_resources"] == {"gpu": 2, "scratch": 200000}
    assert node["free_resources"] == {"gpu": 1.5, "scratch": 195000}
    assert node["free_indexes"] == {"gpu": {"0": 0.5, "1": 1}}
    used = "gpu 0.5/2, scratch 5,000/200,000"
    assert used in cli("nodes").out
    assert used in cli("info").out
    assert used in cli("top", "--count", "1").out
    info = cli.json("info").one
    assert (info["total_resources"]["gpu"], info["free_resources"]["gpu"]) == (2, 1.5)
    cli("submit", "m:f", "--id", "t2", "--resource", "gpu=2", "-q")
    found = cli.json("explain", "t2").one
    assert (found["short_gpu"], found["short_resources"], found["fits_empty"]) == (2, {"gpu": 2}, 1)
    assert found["largest_resources"] == {"gpu": 2}
    said = cli("explain", "t2").out
    assert "It needs 1 CPU, 256 MB, gpu 2: it fits now on none of 2 nodes, and on 1 when empty." in said
    assert "Too little is free: gpu on 2." in said
    assert cli.json("submit", "m:f", "--resource", "gpu=3", "--dry-run").one["reason"] == "infeasible"
    assert "the largest offers are 4 CPU, 1 GB, gpu 2" in cli("submit", "m:f", "--resource", "gpu=3", "--dry-run").out


def test_schedules_make_tasks_that_ask_for_them(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    cli("limit", "api", "5")
    cli("every", "nightly", "--interval", "1h", "--resource", "gpu=2", "--limit", "api=2", "m:f")
    made = cli.json("schedules", "run", "nightly").one["task_id"]
    found = cli.json("status", made).one
    assert (found["resources"], found["limits"]) == ({"gpu": 2}, {"api": 2})
    cli("submit", "m:f", "--id", "a", "--array", "1-3", "--resource", "gpu=1", "-q")
    hand.node("n2", ttl=600, resources="gpu=0,1,2,3")
    hand.place()
    held = {task: start.held for task, start in hand.starts("n2").items()}
    assert held == {made: "gpu=0*1000,1*1000", "a/1": "gpu=2*1000", "a/2": "gpu=3*1000"}
    assert cli.json("status", "a/3").one["resources"] == {"gpu": 1}
