"""Values on the command line: what can't be sent is refused in a line, what can't be read is shown all the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rq_sched.model.values import pack
from tests.cli.kit import Cli, HandCell


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("x:=NaN", "NaN is not JSON"),
        (":=[-Infinity]", "-Infinity is not JSON"),
        (":=1e400", "too large"),
        (":=12345678901234567890123", "int beyond 64 bits: send it as text"),
        (":=" + "9" * 5000, "must be JSON"),
        (':="\\ud800"', "text that has no UTF-8"),
        (":=" + "[" * 2000 + "]" * 2000, "must be JSON"),
        (":=" + "[" * 100_000, "must be JSON"),
        (os.fsdecode(b"caf\xe9.txt"), "args[0] is text that has no UTF-8 ('caf\\udce9.txt')"),
        ("name=" + os.fsdecode(b"caf\xe9.txt"), "kwargs['name'] is text that has no UTF-8"),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_a_value_that_cant_be_sent_is_refused_in_a_line(word: str, complaint: str, cli: Cli, tmp_path: Path) -> None:
    typed = cli("submit", "m:f", word, code=2)
    assert complaint in typed.err
    assert typed.err.count("\n") == 1
    assert "internal error" not in typed.err
    if word.startswith(":="):
        file = tmp_path / "tasks.jsonl"
        file.write_text('{"function": "m:f", "args": [' + word[2:] + "]}\n")
        assert "internal error" not in cli("submit", "--from-file", str(file), code=1).err


def test_a_word_of_a_command_is_what_was_typed(cli: Cli) -> None:
    cli("submit", "--id", "t", "--", "/bin/cat", os.fsdecode(b"caf\xe9.txt"), "café.txt")
    shown = cli.json("status", "t").one
    assert shown["args"] == ["Y2Fm6S50eHQ=", "café.txt"], "bytes as base64, in JSON"
    assert "internal error" not in cli("status", "t").err


@pytest.mark.no_audit("the result is made up")
@pytest.mark.parametrize(
    ("packed", "code", "says"),
    [
        (b"\xc1", 1, "can't be read"),
        (b"\x81\x91\x01\x01", 1, "can't be read"),
        (b"\xa2\xff\xfe", 1, "can't be read"),
        (b"\xc7\x00", 1, "can't be read"),
        (pack([[[1]]], ""), 0, "[[[1]]]"),
        (pack(json.loads("[" * 900 + "]" * 900), ""), 0, "…"),
        (pack([float("nan"), b"\xff", {1: 2}], ""), 0, "null"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_result_is_shown_or_said_to_be_unreadable(
    packed: bytes, code: int, says: str, as_json: bool, hand: HandCell, cli: Cli
) -> None:
    hand.node("n1", 4, 4096, ttl=600)
    hand.submit("t")
    hand.run_one("t", result=packed)
    ask: Callable[..., object] = cli.json if as_json else cli
    typed = ask("result", "t", code=code)
    text = f"{typed.out}{typed.err}"  # type: ignore[attr-defined]
    assert says in text or json.dumps(says)[1:-1] in text
    assert "internal error" not in text
    for look in ("status", "inspect", "explain"):
        assert "internal error" not in cli(look, "t").err
