"""Odd words, wherever a word can be given: one clear line and the exit code of a wrong use, never an internal error."""

from __future__ import annotations

import pytest

from rq_sched.cli import main
from tests.cli.kit import Cli

ODD = [
    "", " ", "caf\udce9", "a\x1b[31m", "9" * 5000, "-1", "nan", "inf", "1e400", "99999999999999999999", "a/99999999999",
    "../x", "x" * 200, "\u202e", "१", "1d1h", "1.0000001G", "=", "a:=[", ":=" + "[" * 2000,
]  # fmt: skip
OF_A_TASK = ["status", "cancel", "result", "logs", "explain", "requeue", "hold", "unhold", "forget", "wait", "inspect"]
PLACES = [
    *([command, "{}"] for command in OF_A_TASK), ["drain", "{}"], ["undrain", "{}"], ["settings", "{}"],
    ["priority", "--to={}", "x"], ["priority", "--to=1", "{}"],
    ["settings", "aging", "{}"], ["settings", "keep_tasks", "{}"],
    *(["submit", "--dry-run", f"--{option}={{}}", "m:f"] for option in (
        "id", "priority", "cpu", "memory", "max-cpu", "max-memory", "require", "array", "retries", "crash-limit",
        "time-limit", "delay", "elastic", "durability", "durability-timeout", "signing-key-file")),
    ["submit", "--dry-run", "{}"], ["submit", "--dry-run", "--", "{}"], ["submit", "--from-file={}"],
    *(["list", f"--{option}={{}}"] for option in ("limit", "node", "state", "priority", "array")),
    *(["events", f"--{option}={{}}"] for option in ("limit", "task", "node")), ["top", "-n", "1", "-d", "{}"],
    ["wait", "x", "--timeout={}"], ["cancel", "x", "--grace={}"], ["cancel", "x", "--reason={}"],
    ["forget", "--older-than={}"], ["drain", "x", "--grace={}"], ["inspect", "--limit={}"], ["health", "--file={}"],
    ["--namespace", "{}", "info"], ["{}"], ["--redis={}", "info"],
    *(["worker", "--cpu=0", f"--{option}={{}}"] for option in ("memory", "ttl", "grace", "allow", "node-id")),
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda word: ascii(word)[:20])
def test_odd_words_are_refused_in_a_line(cli: Cli, capsys: pytest.CaptureFixture[str], odd: str):
    wrong = []
    for place in PLACES:
        words = [word.format(odd) for word in place]
        code = main(words)
        out, err = capsys.readouterr()
        lines = err.splitlines()
        unclear = "internal" in err or "codec" in err or len(lines) > 1 or any(len(line) > 600 for line in lines)
        acts = not all(c.isprintable() or c in "\n\t" for c in out + err)
        if code not in (0, 1, 2, 3, 69) or unclear or acts or (code in (2, 3) and not lines):
            wrong.append((code, ascii(words)[:100], err[:200]))
    assert wrong == []
