"""Resources and limits on the command line: as given, shown and explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.kit import Cli, pairs


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
    ]
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert "line 3: resources: gpu must be whole" in cli("submit", "--from-file", str(file), code=1).err
    first, second = cli.json("status", "t1", "t2").json
    assert first["resources"] == second["resources"] == {"gpu": 2}
    assert first["limits"] == second["limits"] == {"api": 1}
