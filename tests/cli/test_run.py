"""``run``: real commands on a real worker, as if they ran here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rq_sched.client.blocking import Client
from rq_sched.model.states import State
from tests.cli.kit import Cli
from tests.support import wait_for

ROOT = Path(__file__).parents[2]
RUN = [sys.executable, str(ROOT / "cli.py")]


class Machine:
    """A running ``up``, and command lines typed in a folder of a user's."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
        words = ["up", "--json", "--data", str(folder / "data"), "--cpu", "4", "--memory", "4G"]
        self.up = subprocess.Popen([*RUN, *words], stdout=subprocess.PIPE, env=self.environment, cwd=folder, text=True)
        assert self.up.stdout is not None
        self.client = Client(json.loads(self.up.stdout.readline())["url"])

    def begin(self, *words: str, **how: Any) -> subprocess.Popen[bytes]:
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
        return subprocess.Popen([*RUN, *words], **{"cwd": self.home, "env": self.environment} | streams)

    def type(self, *words: str, code: int = 0, **how: Any) -> tuple[bytes, bytes]:
        """What a command line has printed; its exit code must be ``code``."""
        with self.begin(*words, **how) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == code, (process.returncode, out, err)
        return out, err

    def the_task(self) -> Any:
        """The one that was submitted last."""
        (info, *_) = self.client.tasks(limit=1)
        return info

    def close(self) -> None:
        self.client.close()
        self.up.send_signal(signal.SIGINT)
        assert self.up.wait(30) == 0
        assert self.up.stdout is not None
        self.up.stdout.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.close()


@pytest.mark.parametrize(
    ("script", "out", "code"),
    [
        ("echo one; printf '\\033[31mred\\377'", b"one\n\x1b[31mred\xff", 0),
        ("echo some; exit 7", b"some\n", 7),
        ("kill -9 $$", b"", 137),
    ],
)
def test_output_and_exit_code_are_those_of_the_command(machine: Machine, script, out, code):
    shown, said = machine.type("run", "--", "bash", "-c", script, code=code)
    assert shown == out
    assert (b"was killed by SIGKILL" in said) is (code == 137)


def test_standard_error_is_told_from_standard_output(machine: Machine):
    script = "for i in 1 2 3; do echo out; echo err >&2; done"
    assert machine.type("run", "--", "bash", "-c", script) == (b"out\n" * 3, b"err\n" * 3)
    out, err = machine.type("run", "tests.worker.places:tell", env=machine.environment | {"PYTHONPATH": ""})
    assert out.startswith(b"printed\nby a process\n{"), out
    assert err == b"complained\n"


def test_a_pipe_and_a_file_go_with_it(machine: Machine):
    (machine.home / "file").write_bytes(b"\0\xff from a file")
    with (machine.home / "file").open("rb") as file:
        assert machine.type("run", "--", "cat", stdin=file)[0] == b"\0\xff from a file"
    piped = subprocess.run(
        [*RUN, "run", "--", "cat"], input=b"x" * 262_145, env=machine.environment, capture_output=True, check=False
    )
    assert (piped.returncode, b"--stdin FILE" in piped.stderr) == (2, True), piped.stderr
    assert machine.type("run", "--stdin", "file", "--", "cat")[0] == b"\0\xff from a file"


def test_a_script_of_the_users_folder_runs_there(machine: Machine):
    script = machine.home / "job.sh"
    script.write_text("#!/bin/sh\npwd; echo $COLOUR; echo kept > kept\n")
    script.chmod(0o755)
    out, _ = machine.type("run", "--env", "COLOUR=red", "--", "./job.sh")
    assert out.decode().splitlines() == [str(machine.home), "red"]
    assert (machine.home / "kept").read_text() == "kept\n"
    explained, _ = machine.type("explain", machine.the_task().task_id)
    assert f"Its folder is {machine.home}, where it was submitted".encode() in explained
    (machine.home / "below").mkdir()
    assert machine.type("run", "--chdir", "below", "--", "pwd")[0] == f"{machine.home / 'below'}\n".encode()


def test_output_is_shown_as_it_comes(machine: Machine):
    with machine.begin("run", "--", "bash", "-c", "echo first; sleep 60") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert machine.the_task().state is State.CANCELLED


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_other_signals_end_it_too(machine: Machine, number, code):
    with machine.begin("run", "--grace", "0", "--", "bash", "-c", "trap '' TERM; echo; sleep 60") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(20) == code
        assert machine.the_task().state is State.CANCELLED


def test_a_task_nobody_reads_of_is_ended(machine: Machine):
    with machine.begin("run", "--", "bash", "-c", "echo; sleep 60") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 141
    wait_for(lambda: machine.the_task().state is State.CANCELLED)


def test_a_function_prints_what_it_returns(machine: Machine):
    assert machine.type("run", "math:sqrt", ":=16") == (b"4.0\n", b"")
    out, err = machine.type("run", "math:sqrt", ":=-1", code=1)
    assert (out, b"ValueError" in err) == (b"", True)
    lines = [json.loads(line) for line in machine.type("run", "--json", "--", "echo", "a")[0].splitlines()]
    assert [line.get("line") for line in lines] == ["a", None]
    assert (lines[1]["state"], lines[1]["result"]) == ("completed", 0)


def test_a_further_attempt_is_told_and_what_somebody_cancels_has_failed(machine: Machine):
    script = "echo $RQ_SCHED_ATTEMPT; test $RQ_SCHED_ATTEMPT = 2 && sleep 60"
    with machine.begin("run", "--retries", "1", "--id", "twice", "--", "bash", "-c", script) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() + process.stdout.readline() == b"1\n2\n"
        machine.client.cancel("twice", requeue=False)
        assert process.wait(20) == 1
        said = process.stderr.read()
    assert b"twice begins anew: attempt 2" in said
    assert b"twice was cancelled" in said


def test_all_of_what_a_command_writes_is_shown(machine: Machine):
    assert machine.type("run", "--", "head", "-c", "1500000", "/dev/zero") == (bytes(1_500_000), b"")


def test_100_megabytes_of_any_bytes_are_in_the_file_as_they_were_written(machine: Machine):
    piece = os.urandom(1_000_000)
    (machine.home / "piece").write_bytes(piece)
    script = "for i in $(seq 100); do cat piece; done"
    assert machine.type("run", "--output", "big.bin", "--", "sh", "-c", script) == (b"", b"")
    with (machine.home / "big.bin").open("rb") as file:
        assert all(file.read(len(piece)) == piece for _ in range(100))
        assert file.read() == b""
    (machine.home / "big.bin").unlink()


@pytest.mark.parametrize("size", [20, pytest.param(1000, marks=pytest.mark.full)])
def test_each_element_of_an_array_has_a_file_of_its_own(machine: Machine, size: int):
    script = "echo part $RQ_SCHED_ARRAY_INDEX"
    words = ("--id", f"parts{size}", "--array", f"1-{size}", "--output", f"out{size}/%i.txt", "--memory", "10")
    machine.type("submit", *words, "--wait", "-q", "--", "sh", "-c", script)
    out = machine.home / f"out{size}"
    assert {one.name: one.read_text() for one in out.iterdir()} == {
        f"{index}.txt": f"part {index}\n" for index in range(1, size + 1)
    }


def test_what_was_lost_of_a_functions_output_is_told(machine: Machine):
    out, err = machine.type("run", "builtins:print", f':="{"x" * 100_000}"', code=0)
    assert (len(out), err) == (100_001, b"")
    out, err = machine.type("run", "os:system", "head -c 3000000 /dev/zero", code=1)
    assert b"came too fast" in err
    assert len(out) - 2 + int(err.split()[1].replace(b",", b"")) == 3_000_000


def test_it_is_refused_before_anything_is_submitted(cli: Cli):
    refused: list[tuple[list[str], str]] = [
        (["--array", "1-9", "--", "true"], "submit --array"),
        ([], "nothing to submit"),
        (["--grace", "2d", "--", "true"], "at most a day"),
    ]
    for words, said in refused:
        assert said in cli("run", *words, code=2).err
    assert cli("list").out == "no tasks\n"
