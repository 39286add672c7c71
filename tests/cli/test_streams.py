"""Standard streams that are closed, full or gone: commands work all the same, or say in a line what is wrong."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rq_sched.cli.arguments import find_command
from rq_sched.link import Link
from tests.cli.kit import Cli
from tests.support import wait_for

RQ_SCHED = shlex.join([sys.executable, str(Path(__file__).parents[2] / "cli.py")])


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """A command line in a shell; the ``rq-sched`` in it is this one, at the test's server (fixture ``cli``)."""
    words = ["bash", "-c", command.replace("rq-sched", RQ_SCHED)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_commands_work_without_them(cli: Cli, closed):
    done = shell(
        f"for words in 'submit m:f --id t1' list 'cancel t1 --no-requeue'; do rq-sched $words {closed} || exit 9; done"
    )
    assert (done.returncode, "internal error" in done.stderr) == (0, False)
    assert cli.json("status", "t1").one["state"] == "cancelled"


def test_errors_need_no_standard_error(cli: Cli):
    for where in ("2>&-", "2>/dev/full"):
        done = shell(f"rq-sched status nosuch {where}")
        assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


@pytest.mark.parametrize("words", ["list", "--json list"])
def test_what_cannot_be_printed_is_told(cli: Cli, words):
    cli("submit", "m:f")
    done = shell(f"rq-sched {words} >/dev/full")
    (line,) = done.stderr.splitlines()
    assert (done.returncode, "No space left" in line) == (1, True)


def test_standard_input_that_cannot_be_read_is_told(cli: Cli):
    done = shell("rq-sched submit --from-file - <&-")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
    assert "standard input" in done.stderr


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["scheduler", "worker --node-id n1 --cpu 1 --memory 64 --allow '*'"])
def test_long_running_ones_work_without_them(cli: Cli, link: Link, command, closed, tmp_path):
    health = tmp_path / "health"
    line = f"exec rq-sched {command} --health-file {health} {closed}".replace("rq-sched", RQ_SCHED)
    running = subprocess.Popen(["bash", "-c", line], stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: health.exists() and '"ok"' in health.read_text(), timeout=30, dump=running.poll)
        if sys.platform == "linux":
            streams = {os.readlink(f"/proc/{running.pid}/fd/{n}") for n in (0, 1, 2)}
            assert not any(stream.startswith("socket:") for stream in streams)
    finally:
        running.terminate()
        assert running.wait(30) == 0


def test_a_clients_socket_does_not_become_standard_error(cli: Cli):
    program = (
        "import os; from rq_sched import Client; Client().info(); assert os.readlink('/proc/self/fd/2') == '/dev/null'"
    )
    if sys.platform == "linux":
        assert shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} <&- 2>&-").returncode == 0


def test_the_path_of_a_command_is_kept_as_it_was_given(tmp_path, monkeypatch):
    """Links in it are followed by the node when the command runs: a release may be switched until then."""
    (tmp_path / "releases/1").mkdir(parents=True)
    tool = tmp_path / "releases/1/tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    (tmp_path / "current").symlink_to("releases/1")
    by_link = tmp_path / "current/tool"
    assert find_command(str(by_link)) == str(by_link)
    monkeypatch.setenv("PATH", str(by_link.parent))
    assert find_command("tool") == str(by_link)
    monkeypatch.chdir(by_link.parent)
    monkeypatch.setenv("PWD", str(by_link.parent))  # as a shell tells it
    assert find_command("./tool") == str(by_link)
    monkeypatch.setenv("PWD", "/")  # which isn't so
    assert find_command("./tool") == str(tool.resolve())
    assert find_command("/no/such/tool") == "/no/such/tool"
