"""The frame of all commands: options before and after, errors, exit codes, pipes, how fast it starts."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from rq_sched.cli import COMMANDS, show
from rq_sched.cli import cli as group
from rq_sched.link import Link
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.store.keys import Keys
from tests.cli.kit import Cli, HandCell, ask

ROOT = Path(__file__).parents[2]
RUN = [sys.executable, str(ROOT / "cli.py")]


def typed(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run([*RUN, *words], capture_output=True, text=True, timeout=60, env=env, check=False)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(cli: Cli, name):
    said = cli(name, "--help").out
    assert said.startswith(f"Usage: rq-sched {name}")
    assert "--redis" in said
    assert "--json" in said
    assert max(map(len, said.splitlines())) <= 100


def test_help_lists_the_commands(cli: Cli):
    said = cli("--help").out
    assert all(f"  {name} " in said for name in COMMANDS)
    assert "rq-sched" in cli("--version").out


def test_the_page_names_every_command_and_option():
    page = (ROOT / "docs/cli.md").read_text()
    words = set(re.findall(r"[a-z-]+", page))
    assert set(COMMANDS) <= words
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert set(parameter.opts) <= words, (name, parameter.opts)


def test_common_options_work_before_and_after(cli: Cli, redis_url: str, monkeypatch):
    monkeypatch.delenv("RQ_SCHED_REDIS_URL")
    monkeypatch.setenv("RQ_SCHED_NAMESPACE", "wrong one")
    options = ["--redis", redis_url, "--namespace", "elsewhere", "--json"]
    before, after = cli(*options, "info"), cli("info", *options)
    assert before.one["namespace"] == after.one["namespace"] == "elsewhere"
    assert cli("--namespace", "a", "info", *options).one["namespace"] == "elsewhere"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "did you mean 'list'"),
        (["frobnicate"], "--help"),
        (["list", "--stat", "held"], "--stat"),
        (["--namespace", "a b", "info"], "bad namespace"),
        (["--redis", "http://x", "info"], "bad Redis address"),
        (["completion", "tcsh"], "tcsh"),
    ],
)
def test_wrong_use(cli: Cli, words, said):
    (line,) = cli(*words, code=2).err.splitlines()
    assert said in line
    (error,) = cli.json(*words, code=2).errors
    assert said in error["message"]


def test_nothing_typed_shows_the_help(cli: Cli):
    assert "Usage: rq-sched" in cli(code=2).err


# -- Redis can't be used --------------------------------------------------------------------------

COMMANDS_THAT_ASK = [
    ["submit", "m:f"], ["status", "t1"], ["list"], ["cancel", "t1"], ["wait", "t1"], ["result", "t1"], ["logs", "t1"],
    ["explain", "t1"], ["hold", "t1"], ["priority", "--to", "1", "t1"], ["nodes"], ["drain", "n1"], ["info"],
    ["events"], ["top"], ["doctor"], ["inspect"], ["inspect", "t1"], ["forget"], ["settings"], ["scheduler"],
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS_THAT_ASK, ids=" ".join)
def test_no_server(cli: Cli, tmp_path: Path, words):
    url = f"unix://{tmp_path}/no.sock"
    error_line = cli(*words, "--redis", url, code=69).err.splitlines()[-1]
    assert "can't be reached" in error_line
    assert str(tmp_path) in error_line
    assert cli.json(*words, "--redis", url, code=69).errors[-1]["code"] == "redis_unavailable"


def test_wrong_password(cli: Cli, tmp_path: Path, server_binary: Path | None, free_port: int):
    with EmbeddedServer(
        tmp_path, settings={"port": str(free_port), "bind": "127.0.0.1"}, binary=server_binary
    ) as server:
        door = Link(server.url)
        door.run(ask("CONFIG", "SET", "requirepass", "sesame"))
        door.close()
        for password in ("", ":wrong@"):
            (line,) = cli("info", "--redis", f"redis://{password}127.0.0.1:{free_port}/0", code=69).err.splitlines()
            assert "password" in line
            assert "wrong@" not in line
        cli("info", "--redis", f"redis://:sesame@127.0.0.1:{free_port}/0")


@pytest.mark.no_audit("a foreign key is planted")
@pytest.mark.parametrize("words", [["submit", "m:f", "--id", "t1"], ["status", "t1"], ["inspect", "t1"], ["doctor"]])
def test_wrong_type_at_a_key(cli: Cli, link: Link, namespace: str, words):
    link.run(ask("SADD", Keys(namespace).task("t1"), "something else"))
    if words[0] == "inspect":
        assert "WRONG TYPE" in cli(*words).out
    elif words[0] == "doctor":
        assert cli.json(*words, code=1).one["ok"] is False
    elif words[0] == "status":  # one row that says so
        assert cli(*words).lines[0].split() == ["t1", "pending", "(unreadable)"]
    else:  # what isn't a request is none: the place is free
        assert "submitted t1" in cli(*words).out
        assert cli("status", "t1").lines[0].split()[:2] == ["t1", "pending"]


# -- output ---------------------------------------------------------------------------------------


def test_unexpected_errors_are_one_line_with_a_hint(cli: Cli, monkeypatch):
    def broken(self: object) -> str:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("rq_sched.cli.options.Invocation.url", property(broken))
    monkeypatch.delenv("RQ_SCHED_DEBUG", raising=False)
    (line,) = cli("info", code=1).err.splitlines()
    assert "internal error: RuntimeError: two lines" in line
    assert "RQ_SCHED_DEBUG=1" in line
    assert cli.json("info", code=1).errors[0]["code"] == "internal"
    monkeypatch.setenv("RQ_SCHED_DEBUG", "1")
    assert "Traceback" in cli("info", code=1).err


def test_a_broken_pipe_is_silent(cli: Cli, namespace: str, redis_url: str):
    for number in range(300):
        cli("submit", "m:f", "x" * 300, "--id", f"t{number}", "-q")
    command = f"{sys.executable} {ROOT}/cli.py list --json --limit 300 | head -1"
    env = {**os.environ, "RQ_SCHED_REDIS_URL": redis_url, "RQ_SCHED_NAMESPACE": namespace}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, env=env, check=True)
    assert json.loads(done.stdout)["task_id"] == "t0"
    assert done.stderr == ""


def test_ctrl_c_is_clean(cli: Cli, namespace: str, redis_url: str):
    cli("submit", "m:f", "--id", "t1", "-q")
    child = subprocess.Popen(
        [*RUN, "wait", "t1", "--redis", redis_url, "--namespace", namespace],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while '"watch"' not in cli("--json", "inspect", "t1").out:  # until it waits
        assert time.monotonic() < deadline
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert (out, [line for line in err.splitlines() if line and "waiting for a " not in line]) == ("", [])


def test_names_cannot_act_on_the_terminal(cli: Cli):
    code = "\x1b[31m\x9b2J\u202e[bold red]"
    cli("submit", "m:f", f"arg={code}", code, "--id", "t1", "-q")
    cli("submit", "--id", "t2", "-q", "--", "/bin/echo", code)
    for words in (["status", "t1", "t2"], ["list"], ["events"], ["inspect", "t1"], ["explain", "t1"], ["top"]):
        for options in ([], ["--json"]):
            said = cli(*words, *options).out
            assert all(character not in said for character in "\x1b\x9b\u202e"), (words, said)
    assert "[bold red]" in cli("status", "t1").out  # text, not markup


def on_a_terminal(*words: str, columns: int, **environment: str) -> str:
    """What is shown where both outputs are a terminal of that width."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", **environment}
    with subprocess.Popen([*RUN, *words], stdout=theirs, stderr=theirs, env=env):
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 65536):
                said += piece
        except OSError:  # Linux' way of saying that the other end is closed
            pass
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", said.decode()).replace("\r\n", "\n")  # without its colours


def test_tables_fit_a_narrow_terminal(cli: Cli, hand: HandCell, redis_url: str, namespace: str):
    hand.node("node-with-a-long-name-0123456789", cpu=2, memory=65536, ttl=600)
    cli("submit", "some.module.of.mine:function", "argument " * 20, "--cpu", "12", "--memory", "100G", "-q")
    cli("submit", "--id", "i" * 60, "--cpu", "3", "-q", "--", "/bin/echo", "[/bold]")
    env = {"RQ_SCHED_REDIS_URL": redis_url, "RQ_SCHED_NAMESPACE": namespace, "NO_COLOR": "1"}
    said = on_a_terminal("list", columns=80, **env)
    assert max(map(len, said.splitlines())) <= 80
    assert said.splitlines()[0].split() == ["TASK", "STATE", "CPU", "MEMORY", "NODE", "AGE", "RUNS"]
    assert "left out for want of room: PRIO (a wider window or --json shows all)" in said
    assert "…" in said  # the call gives way, the id doesn't
    assert "i" * 60 in said.splitlines()
    for words in (["nodes"], ["settings"], ["doctor"], ["inspect"]):
        assert max(map(len, on_a_terminal(*words, columns=80, **env).splitlines())) <= 80, words


def test_plain_when_piped(cli: Cli):
    cli("submit", "m:f", "argument " * 20, "--id", "t1", "-q")
    said = cli("list").out
    assert "argument argument" in said
    assert all(line == line.rstrip() for line in said.splitlines())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.0123, "0.012 s"), (3.21, "3.2 s"), (9.94, "9.9 s"), (42.4, "42 s"), (59.9, "1m 00s"),
     (125, "2m 05s"), (12_000, "3h 20m"), (360_000, "4d 4h"), (-3, "0 s")],
)  # fmt: skip
def test_durations(seconds, text):
    assert show.duration(seconds) == text


# -- starting -------------------------------------------------------------------------------------


def imported(*words: str, **environment: str) -> set[str]:
    """The modules that a command line imports."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from rq_sched.cli import main; main({list(words)!r}); "
    code += "print('\\n'.join(sys.modules), file=sys.stderr)"
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env, check=True)
    return set(done.stderr.split())


def test_help_imports_next_to_nothing():
    heavy = {"redis", "rich", "psutil", "asyncio", "rq_sched.store"}
    assert not heavy & imported("--help")
    assert not heavy & imported("--version")


def test_submit_imports_only_what_it_needs(redis_url: str, namespace: str):
    found = imported("submit", "m:f", RQ_SCHED_REDIS_URL=redis_url, RQ_SCHED_NAMESPACE=namespace)
    assert "rq_sched.store" in found
    assert (
        not {"rich", "rich.table", "psutil", "rq_sched.worker", "rq_sched.scheduler.process", "rq_sched.cli.look"}
        & found
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(cli: Cli, shell):
    assert "_RQ_SCHED_COMPLETE" in cli("completion", shell).out
    done = typed(_RQ_SCHED_COMPLETE="bash_complete", COMP_WORDS="rq-sched sub", COMP_CWORD="1")
    assert done.stdout.strip() == "plain,submit"
    done = typed(_RQ_SCHED_COMPLETE="bash_complete", COMP_WORDS="rq-sched list --st", COMP_CWORD="2")
    assert "plain,--state" in done.stdout


def test_every_way_in_is_the_same():
    ways = [RUN, [sys.executable, "-m", "rq_sched.cli"], [sys.executable, str(ROOT / "rq_sched/cli/__main__.py")]]
    outs = {
        subprocess.run([*way, "--help"], capture_output=True, text=True, timeout=60, cwd=ROOT, check=True).stdout
        for way in ways
    }
    assert len(outs) == 1
