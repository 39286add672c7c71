"""Labels on the command line: what nodes carry and tasks require, as given, shown and explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.kit import Cli, HandCell, pairs, rows


def test_submit_takes_labels_and_status_shows_them(cli: Cli):
    cli("submit", "m:f", "--id", "t1", "--require", "ssd", "--require", "gpu", "--require", "ssd", "-q")
    assert cli.json("status", "t1").one["require"] == ["gpu", "ssd"]
    assert dict(pairs(cli("status", "t1")))["needs"] == "1 CPU, 256 MB, labels gpu+ssd"
    cli("submit", "m:f", "--id", "t2", "--require", "gpu", "-q")
    assert dict(pairs(cli("status", "t2")))["needs"] == "1 CPU, 256 MB, label gpu"
    cli("submit", "m:f", "--id", "t3", "-q")
    assert cli.json("status", "t3").one["require"] == []


def test_a_label_that_is_empty_is_refused(cli: Cli):
    """It has nothing to say, as any option that is given but empty."""
    for words in (("submit", "m:f", "--require", ""), ("worker", "--label", "")):
        error = cli.json(*words, code=2).errors[0]
        assert error["code"] == "invalid_value"
        assert "is empty" in error["message"]


@pytest.mark.parametrize("label", ["GPU", "a b", "a+b", "a:b", "x" * 33, "größe"])
def test_a_bad_label_is_refused(cli: Cli, label: str):
    typed = cli.json("submit", "m:f", "--require", label, code=2)
    assert typed.errors[0]["code"] == "invalid_label"
    assert typed.errors[0]["message"].startswith("--require: bad label")
    assert cli.json("worker", "--label", label, code=2).errors[0]["message"].startswith("--label: bad label")


def test_more_than_eight_labels_are_refused(cli: Cli):
    words = [word for i in range(9) for word in ("--require", f"l{i}")]
    assert "at most 8" in cli.json("submit", "m:f", *words, code=2).errors[0]["message"]
    words = [word for i in range(9) for word in ("--label", f"l{i}")]
    assert "at most 8" in cli.json("worker", *words, code=2).errors[0]["message"]


def test_lines_of_a_file_require_labels(cli: Cli, tmp_path: Path):
    file = tmp_path / "tasks.jsonl"
    lines = [
        {"function": "m:f", "task_id": "t1", "require": ["ssd", "gpu"]},
        {"function": "m:f", "task_id": "t2", "require": ["GPU"]},
        {"function": "m:f", "task_id": "t3", "require": 7},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    typed = cli("submit", "--from-file", str(file), code=1)
    assert "line 2: require: bad label 'GPU'" in typed.err
    assert "line 3: require must be a list of labels, not 7" in typed.err
    assert cli.json("status", "t1").one["require"] == ["gpu", "ssd"]


def test_a_rehearsal_of_a_file_knows_labels(cli: Cli, hand: HandCell, tmp_path: Path):
    hand.node("n1", ttl=600, labels=("gpu",))
    file = tmp_path / "tasks.jsonl"
    file.write_text(
        "".join(json.dumps({"function": "m:f", "require": [name]}) + "\n" for name in ("gpu", "tpu", "tpu"))
    )
    assert cli.json("submit", "--from-file", str(file), "--dry-run").one["infeasible"] == 2
    said = cli("submit", "--from-file", str(file), "--dry-run").out
    assert "no node could hold 2 tasks that need 1 CPU, 256 MB, label tpu" in said


def test_nodes_shows_labels_where_there_are_any(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    assert "LABELS" not in cli("nodes").out
    hand.node("n2", ttl=600, labels=("gpu", "ssd"))
    typed = cli("nodes")
    assert typed.lines[0].endswith("LABELS")
    assert rows(typed)["n2"][-1] == "gpu+ssd"
    assert [node["labels"] for node in cli.json("nodes").json] == [[], ["gpu", "ssd"]]
    assert "gpu+ssd" in cli("top", "--count", "1").out


def test_explain_says_which_label_is_missing(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    hand.node("n2", ttl=600, labels=("gpu",))
    hand.node("n3", 8, 4096, ttl=600)
    typed = cli("submit", "m:f", "--id", "t1", "--require", "gpu", "--require", "ssd")
    assert "no node could hold t1 even when empty: it needs 1 CPU, 256 MB, labels gpu+ssd" in typed.err
    said = cli("explain", "t1").out
    assert (
        "none carries the labels gpu+ssd (missing: gpu on 2, ssd on 3). Start a node with `--label`, or end it" in said
    )
    cli("submit", "m:f", "--id", "t2", "--require", "gpu", "--cpu", "8", "-q")
    assert "of the 1 with the label gpu, the largest offers are 4 CPU, 1 GB." in cli("explain", "t2").out
    assert "no node could hold it" in cli("submit", "m:f", "--require", "tpu", "--dry-run").out
    cli("submit", "m:f", "--id", "t3", "--require", "gpu", "--cpu", "4", "-q")
    hand.place()
    cli("submit", "m:f", "--id", "t4", "--require", "gpu", "--cpu", "4", "-q")
    said = cli("explain", "t4").out
    assert "It needs 4 CPU, 256 MB, label gpu: it fits now on none of 3 nodes, and on 1 when empty." in said
    assert "On 2 of 3 nodes a label is missing." in said
    assert "Too little is free: CPU on 1." in said


def test_a_dry_run_finds_the_node_with_the_label(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    hand.node("n2", ttl=600, labels=("gpu",))
    found = cli.json("submit", "m:f", "--require", "gpu", "--dry-run").one
    assert (found["state"], found["fits_now"], found["nodes"], found["short_labels"]) == ("assigned", 1, 2, 1)


def test_inspect_knows_labels(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600, labels=("gpu",))
    hand.submit("t1", "t2", cpu=3, require=["gpu"])
    hand.place()
    (queue,) = cli.json("inspect", "3:100+gpu").one["keys"]
    assert queue["entries"][0]["name"] == "t2"
    for key in ("free:gpu", "totals:gpu", "classes:3:128+gpu"):
        (found,) = cli.json("inspect", key).one["keys"]
        assert found["type"] == "zset"
        assert "not a key of rq-sched" not in found["meaning"]
    assert cli.json("inspect", "free:gpu").one["keys"][0]["entries"][0]["meaning"] == "1 CPU, 924 MB free"
    assert "+gpu" in cli("inspect", "n1").out
