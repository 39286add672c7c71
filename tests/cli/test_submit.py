"""``submit``: what is taken, what is refused, files of tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from rq_sched.cli import submit_file
from rq_sched.cli.arguments import find_command, parse_arguments
from rq_sched.cli.lines import MAX_LINE, LineReader
from rq_sched.errors import InvalidValue
from tests.cli.kit import Cli, HandCell
from tests.support import wait_for

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "args", "kwargs"),
    [
        (["a", "b c"], ["a", "b c"], {}),
        (["x=1", "y:=1"], [], {"x": "1", "y": 1}),
        ([":=2", ':={"a": [true]}'], [2, {"a": [True]}], {}),
        (["http://x?y=1", "1=2", "=x"], ["http://x?y=1", "1=2", "=x"], {}),
        (["x==", "größe:=null"], [], {"x": "=", "größe": None}),
        ([':="a=b"', "t=a\nb"], ["a=b"], {"t": "a\nb"}),
    ],
)
def test_arguments(words, args, kwargs):
    assert parse_arguments(words) == (args, kwargs)


@pytest.mark.parametrize("words", [["x:=[1"], [":="], ["x=1", "x=2"], ["x:=" + "[" * 100_000]])
def test_bad_arguments(words):
    with pytest.raises(InvalidValue):
        parse_arguments(words)


def test_a_function(cli: Cli):
    typed = cli.json("submit", "math:hypot", ":=3", "y:=4", "--id", "t1", "--cpu", "2", "--memory", "1G", "-p", "7")
    assert typed.one == {"task_id": "t1", "state": "pending"}
    info = cli.json("status", "t1").one
    assert (info["function"], info["args"], info["kwargs"]) == ("math:hypot", [3], {"y": 4})
    assert (info["cpu_needed"], info["memory_needed"], info["priority"]) == (2, 1024, 7)


def test_all_options_are_kept(cli: Cli):
    options = [
        *("--max-cpu", "4", "--max-memory", "2G", "--retries", "3", "--crash-limit", "5", "--time-limit", "10m"),
        *("--delay", "1h", "--elastic", "all", "--preemptible"),
    ]
    assert cli.json("submit", "m:f", "--id", "t1", *options).one["state"] == "delayed"
    info = cli.json("status", "t1").one
    assert (info["max_cpu_needed"], info["max_memory_needed"], info["retries"], info["crash_limit"]) == (4, 2048, 3, 5)
    assert (info["time_limit"], info["delay"], info["elastic"], info["preemptible"]) == (600, 3600, "all", True)


def test_a_command(cli: Cli):
    cli("submit", "--id", "t1", "--", "sh", "-c", "echo x=1", "--json")
    info = cli.json("status", "t1").one
    assert info["function"] == f"exec:{find_command('sh')}"
    assert info["args"] == ["-c", "echo x=1", "--json"]


def test_words_after_dashes_belong_to_the_function_before_them(cli: Cli):
    cli("submit", "m:f", "a", "--id", "t1", "--", "-5", "k=v")
    info = cli.json("status", "t1").one
    assert (info["function"], info["args"], info["kwargs"]) == ("m:f", ["a", "-5"], {"k": "v"})


def test_what_is_printed(cli: Cli):
    assert cli("submit", "m:f", "--id", "t1").out == "submitted t1\n"
    assert cli("submit", "m:f", "--id", "t1").out == "t1 was submitted before and is pending\n"
    assert cli("submit", "m:f", "--id", "t2", "-q").out == "t2\n"
    (generated,) = cli("submit", "m:f", "--quiet").lines
    assert cli.json("status", generated).one["state"] == "pending"


def test_a_warning_where_it_cannot_run(cli: Cli, hand: HandCell):
    assert "no node is up" in cli("submit", "m:f", "-q").err
    hand.node("n1", cpu=2)
    assert cli("submit", "m:f", "-q").err == ""
    typed = cli("submit", "m:f", "--cpu", "3", "-q")
    assert "even when empty" in typed.err
    assert json.loads(cli.json("submit", "m:f", "--cpu", "3").err)["warning"]["message"]
    hand.place()  # what fits is placed: nothing waits where it needn't


BAD = [
    (["submit"], 2, "nothing to submit"),
    (["submit", "--"], 2, "nothing to submit"),
    (["submit", "nofunc"], 2, "bad target 'nofunc'"),
    (["submit", "a b:c"], 2, "bad target"),
    (["submit", "m:<lambda>"], 2, "bad target"),
    (["submit", "m:f", "--id", "a b"], 2, "bad task id"),
    (["submit", "m:f", "--id", "-x"], 2, "bad task id"),
    (["submit", "m:f", "--id", "x" * 129], 2, "bad task id"),
    (["submit", "m:f", "--cpu", "-1"], 2, "--cpu"),
    (["submit", "m:f", "--cpu", "1.5"], 2, "--cpu"),
    (["submit", "m:f", "--cpu", "2", "--max-cpu", "1"], 2, "below"),
    (["submit", "m:f", "--memory", "1G", "--max-memory", "512M"], 2, "below"),
    (["submit", "m:f", "--memory", "lots"], 2, "--memory"),
    (["submit", "m:f", "--memory", "0"], 2, "--memory"),
    (["submit", "m:f", "-p", "2147483649"], 2, "±2147483648"),
    (["submit", "m:f", "--retries", "-1"], 2, "--retries"),
    (["submit", "m:f", "--time-limit", "soon"], 2, "--time-limit"),
    (["submit", "m:f", "--delay", "nan"], 2, "--delay"),
    (["submit", "m:f", "--elastic", "yes"], 2, "--elastic"),
    (["submit", "m:f", "x:={"], 2, "JSON"),
    (["submit", "m:f", "x:=123456789012345678901234567890"], 2, "can't be sent"),
    (["submit", "m:f", "x" * 300 * 1024], 2, "bytes"),
    (["submit", "m:f", "--nonsense"], 2, "--nonsense"),
    (["submit", "--", "surely-no-such-command"], 2, "no command"),
    (["submit", "m:f", "--from-file", "-"], 2, "--from-file"),
    (["submit", "--cpu", "2", "--from-file", "-"], 2, "--cpu"),
    (["submit", "--from-file", "/no/such/file"], 2, "No such file"),
    (["submit", "--from-file", "/"], 2, "Is a directory"),
]


@pytest.mark.parametrize(("words", "code", "said"), BAD, ids=[" ".join(words)[:40] for words, _, _ in BAD])
def test_bad_input_is_one_clear_line(cli: Cli, words, code, said):
    typed = cli(*words, code=code)
    (line,) = typed.err.splitlines()
    assert said in line
    assert "Traceback" not in line
    assert typed.out == ""
    (error,) = cli("--json", *words, code=code).errors
    assert said in error["message"]
    assert error["code"]
    assert cli.json("list").json == []  # nothing of it was submitted


def test_the_same_id_with_another_request(cli: Cli):
    cli("submit", "m:f", ":=1", "--id", "t1")
    typed = cli("submit", "m:f", ":=2", "--id", "t1", code=2)
    assert "taken by another request" in typed.err
    assert cli.json("status", "t1").one["args"] == [1]


# -- files ----------------------------------------------------------------------------------------


def write_lines(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def good_line(number: int) -> str:
    return json.dumps({"function": "m:f", "task_id": f"t{number}", "args": [number], "cpu_needed": 1 + number % 3})


def test_one_broken_line_of_a_thousand(cli: Cli, tmp_path: Path):
    lines = [good_line(number) for number in range(1, 1001)]
    lines[6] = '{"function": "m:f", '
    file = write_lines(tmp_path / "tasks.jsonl", lines)
    typed = cli("submit", "--from-file", file, code=1)
    (complaint,) = [line for line in typed.err.splitlines() if "warning" not in line]
    assert "line 7:" in complaint
    assert "broken JSON" in complaint
    assert typed.out == "submitted 999 tasks; 1 line refused\n"
    assert cli.json("info").one["tasks"]["pending"] == 999
    again = cli("submit", "--from-file", file, code=1)  # the same tasks: nothing is there twice
    assert cli.json("info").one["tasks"]["pending"] == 999
    assert "line 7:" in again.err


def test_what_was_submitted_before_shows_its_state(cli: Cli, hand: HandCell, tmp_path: Path):
    file = write_lines(tmp_path / "tasks.jsonl", [good_line(1), good_line(2)])
    cli("submit", "--from-file", file)
    hand.run_one("t1", result=b"\xc0")
    hand.run_one("t2", result=b"\xc0")
    file = write_lines(tmp_path / "tasks.jsonl", [good_line(1), good_line(3)])
    states = {line["task_id"]: line["state"] for line in cli("--json", "submit", "--from-file", file).json}
    assert states == {"t1": "completed", "t3": "pending"}
    hand.run_one("t3")


def test_a_line_may_wait_for_a_later_one(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(submit_file, "BATCH_TASKS", 2)
    after = {"d": "c", "c": "b", "b": "a", "o": "no", "a": "", "e": "", "x": "y", "y": "x"}
    lines = [json.dumps({"function": "m:f", "id": task_id, "after": ids}) for task_id, ids in after.items()]
    file = write_lines(tmp_path / "tasks.jsonl", lines)
    typed = cli("--json", "submit", "--from-file", file, code=1)
    assert typed.json == [{"task_id": t, "state": "waiting" if t in "dcb" else "pending"} for t in "dcbae"]
    assert [error["line"] for error in typed.errors] == [7, 8, 4]
    assert "x -> y -> x" in typed.errors[0]["message"]


def test_a_file_is_waited_for(cli: Cli, hand: HandCell, tmp_path: Path):
    file = write_lines(tmp_path / "tasks.jsonl", [good_line(1), good_line(2)])
    cli("submit", "--from-file", file, "-q")
    hand.run_one("t1", result=b"\xc0")
    hand.run_one("t2", outcome="failed", reason="error", error="x")
    assert cli("submit", "--from-file", file, "--wait", code=1).lines[-1] == "1 completed, 1 failed"
    assert cli("submit", "--from-file", file, "--wait", "-q", code=1).lines == ["t1", "t2"]


BAD_LINES = [
    ("[1]", "expected a JSON object"),
    ("null", "expected a JSON object"),
    ('{"args": []}', "function is missing"),
    ('{"function": "m:f", "cpus": 1}', "unknown field 'cpus': did you mean cpu?"),
    ('{"function": "m:f", "cpu": 1, "cpu_needed": 1}', "cpu and cpu_needed are the same"),
    ('{"function": "m:f", "delay": "soon"}', "delay must be a number of seconds, or such as"),
    ('{"function": "m:f", "cpu_needed": -1}', "cpu_needed"),
    ('{"function": "m:f", "cpu_needed": 2, "max_cpu_needed": 1}', "below"),
    ('{"function": "m:f", "memory_needed": "lots"}', "memory_needed"),
    ('{"function": "m:f", "args": "text"}', "args must be a list"),
    ('{"function": "m:f", "args": [NaN]}', "NaN"),
    ('{"function": "m:f", "args": [' + "9" * 30 + "]}", "can't be sent"),
    ('{"function": "m:f", "args": ["\\ud800"]}', "can't be sent"),
    ('{"function": "exec:/bin/\\ud800"}', "bad command"),
    ('{"function": "m:f", "args": ["' + "x" * 300 * 1024 + '"]}', "bytes"),
    ('{"function": "m:f", "args": ' + "[" * 50_000 + "]" * 50_000 + "}", "broken JSON"),
    ('{"function": "m:f", "args": ["' + "x" * (MAX_LINE + 10) + '"]}', "longer than"),
    ('{"function": "m:f", "task_id": "a b"}', "bad task id"),
    ('{"function": "m:f", "task_id": "t1", "priority": 5}', "taken by another request"),
    ("{'function': 'm:f'}", "broken JSON"),
]


def test_each_bad_line_is_reported_and_the_good_ones_are_taken(cli: Cli, tmp_path: Path):
    lines = [good_line(1)]
    for number, (bad, _) in enumerate(BAD_LINES, 2):
        lines += [bad, good_line(number)]
    file = write_lines(tmp_path / "tasks.jsonl", lines)
    typed = cli("--json", "submit", "--from-file", file, code=1)
    errors = {error["line"]: error["message"] for error in typed.errors}
    expected = {2 * position + 2: said for position, (_, said) in enumerate(BAD_LINES)}
    assert errors.keys() == expected.keys()
    assert all(expected[number] in message for number, message in errors.items()), errors
    assert [line["task_id"] for line in typed.json] == [f"t{n}" for n in range(1, len(BAD_LINES) + 2)]
    assert {line["state"] for line in typed.json} == {"pending"}


def test_blank_lines_bom_and_a_last_line_without_end(cli: Cli, tmp_path: Path):
    file = tmp_path / "tasks.jsonl"
    file.write_text(f"{good_line(1)}\n\n  \r\n{good_line(2)}\r\n{good_line(3)}")
    assert cli("submit", "--from-file", str(file), "-q").out == "t1\nt2\nt3\n"
    file.write_bytes(b"\xff\xfe\n")
    assert "not UTF-8" in cli("submit", "--from-file", str(file), code=1).err
    file.write_text("")
    assert cli("submit", "--from-file", str(file)).out == "submitted 0 tasks\n"


def test_a_pipe_is_flushed_while_it_stays_open(namespace: str, redis_url: str):
    """A program that writes one task and then thinks: it is submitted meanwhile."""
    command = [sys.executable, str(ROOT / "cli.py"), "submit", "--from-file", "-", "-q"]
    options = ["--redis", redis_url, "--namespace", namespace]
    child = subprocess.Popen(
        [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        for number in (1, 2):
            child.stdin.write(good_line(number).encode() + b"\n")
            child.stdin.flush()
            assert child.stdout.readline().decode() == f"t{number}\n"  # pytest's timeout, if it never comes
        child.stdin.write(good_line(3).encode())  # an end without a line's end
    finally:
        out, err = child.communicate(timeout=20)
    assert out.decode() == "t3\n"
    assert child.returncode == 0, err


def test_memory_stays_constant(tmp_path: Path):
    """Reading is bounded: lines come out as they come in, a line without end is cut."""
    reader_end, writer_end = os.pipe()
    reader = LineReader(reader_end)
    os.write(writer_end, b"a\nb\nc")
    assert reader.read(1) == [b"a", b"b"]
    assert reader.read(0) == []
    os.write(writer_end, b"d\n")
    assert reader.read(1) == [b"cd"]
    os.close(writer_end)
    assert reader.read(1) is None
    os.close(reader_end)
    file = tmp_path / "long"
    file.write_bytes(b"x" * (3 * MAX_LINE) + b"\nshort\n")
    with file.open("rb", buffering=0) as long:
        reader = LineReader(long.fileno())
        lines: list[bytes] = []
        while (some := reader.read(None)) is not None:
            lines += some
            assert reader._begun_bytes <= MAX_LINE + 1
    assert [len(line) for line in lines] == [MAX_LINE + 1, 5]


def test_redis_lost_on_the_way_says_how_far_it_came(cli: Cli, tmp_path: Path, monkeypatch):
    from rq_sched.cli.options import Invocation
    from rq_sched.errors import RedisUnavailable

    monkeypatch.setattr(submit_file, "BATCH_TASKS", 10)
    real, calls = Invocation.run, []

    def run(self, op):
        calls.append(op)
        if len(calls) == 6:  # the first batch, the looks at nodes (three), the second batch, then:
            raise RedisUnavailable("gone")
        return real(self, op)

    monkeypatch.setattr(Invocation, "run", run)
    file = write_lines(tmp_path / "tasks.jsonl", [good_line(number) for number in range(1, 101)])
    typed = cli("submit", "--from-file", file, code=69)
    assert "20 tasks submitted, up to line 20" in typed.err
    assert "of the lines 21 to 30" in typed.err


def test_waiting_for_one(cli: Cli, hand: HandCell, namespace: str, redis_url: str):
    command = [sys.executable, str(ROOT / "cli.py"), "submit", "m:f", "--wait", "--redis", redis_url]
    for number, (outcome, code, said) in enumerate([("completed", 0, "[1, 2]"), ("failed", 1, "it broke")]):
        task_id = f"t{number}"
        options = ["--namespace", namespace, "--id", task_id]
        child = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(partial(hand.state, task_id))
        report = {"result": b"\x92\x01\x02"} if code == 0 else {"reason": "error", "error": "it broke"}
        hand.run_one(task_id, outcome=outcome, **report)
        out, err = child.communicate(timeout=20)
        assert child.returncode == code
        assert said in (out if code == 0 else err)
