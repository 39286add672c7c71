"""What is given but empty ends a process with exit code 2: it is never taken for something that isn't given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from rq_sched import AsyncClient, Client
from rq_sched.cli import COMMANDS, cli, main
from rq_sched.errors import RqSchedError, UsageError
from rq_sched.model.resources import Resources
from rq_sched.process.environment import signing_key
from rq_sched.worker import WorkerConfig

BLANK = ("", " ", "\t\n", " " * 20)
VARIABLES = ("RQ_SCHED_REDIS_URL", "RQ_SCHED_NAMESPACE", "RQ_SCHED_SIGNING_KEY", "RQ_SCHED_SIGNING_KEY_FILE")


@pytest.fixture(autouse=True)
def nothing_else_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*VARIABLES, "RQ_SCHED_DURABILITY", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def refused(words: list[str], capsys: pytest.CaptureFixture[str], *names: str) -> None:
    assert main(words) == UsageError.exit_status, words
    said = capsys.readouterr().err
    assert "empty" in said, said
    assert "internal error" not in said
    for name in names:
        assert name in said


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize("variable", [*VARIABLES, "REDIS_URL"])
def test_a_worker_ends(
    variable: str, blank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, blank)
    refused(["worker", "--allow", "math:*"], capsys, variable)


@pytest.mark.parametrize("variable", ["RQ_SCHED_REDIS_URL", "RQ_SCHED_NAMESPACE", "REDIS_URL"])
@pytest.mark.parametrize("words", [["scheduler"], ["status", "t1"], ["list"], ["doctor"], ["info"]])
def test_other_commands_end(
    variable: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "")
    refused(words, capsys, variable)


@pytest.mark.parametrize("variable", [*VARIABLES, "RQ_SCHED_DURABILITY"])
def test_submits_end(variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(variable, "  ")
    refused(["submit", "math:sqrt", ":=1"], capsys, variable)


@pytest.mark.parametrize("variable", ["RQ_SCHED_NAMESPACE", "RQ_SCHED_SIGNING_KEY", "RQ_SCHED_SIGNING_KEY_FILE"])
def test_up_ends_before_it_starts_anything(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "")
    refused(["up", "--data", str(tmp_path / "data")], capsys, variable)
    assert not (tmp_path / "data").exists()


def text_options() -> list[tuple[str, str]]:
    """Every option of every command that takes a value."""
    found = []
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for param in command.params:
            if isinstance(param, click.Option) and not param.is_flag:
                found.append((name, max(param.opts, key=len)))
    return found


@pytest.mark.parametrize(("command", "option"), text_options())
@pytest.mark.parametrize("blank", ["", "  "])
def test_no_option_may_be_empty(command: str, option: str, blank: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, *_needed(command, option), option, blank]) == UsageError.exit_status
    said = capsys.readouterr().err
    assert f"{option} is empty" in said, said
    assert "internal error" not in said


def _needed(command: str, option: str) -> list[str]:
    """What the command can't do without."""
    parameters = cli.get_command(click.Context(cli), command).params  # type: ignore[union-attr]
    needed = [param for param in parameters if param.required and param.opts[0] != option]
    return [word for p in needed for word in ([p.opts[0], __file__] if isinstance(p, click.Option) else ["x"])]


@pytest.mark.parametrize("option", ["--redis", "--namespace"])
def test_nor_one_before_the_command(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused([option, "", "list"], capsys, option)


@pytest.mark.parametrize("text", ["", "\n", "   \n"])
def test_nor_a_file_with_a_key(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(0o600)
    refused(["worker", "--allow", "math:*", "--signing-key-file", str(file)], capsys, str(file))
    refused(["submit", "--signing-key-file", str(file), "math:sqrt", ":=1"], capsys, str(file))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("name", ["url", "namespace", "signing_key", "durability"])
@pytest.mark.parametrize("blank", BLANK)
def test_clients_in_python(kind: Callable[..., Any], name: str, blank: str) -> None:
    with pytest.raises(UsageError):
        kind(**{name: blank})


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize(
    "given",
    [
        lambda blank: {"url": blank},
        lambda blank: {"namespace": blank},
        lambda blank: {"node_id": blank},
        lambda blank: {"allow": (blank,)},
        lambda blank: {"signing_key": blank},
        lambda blank: {"labels": (blank,)},
    ],
)
def test_workers_in_python(given: Callable[[str], dict[str, Any]], blank: str) -> None:
    right: dict[str, Any] = {
        "url": "redis://localhost", "namespace": "n", "node_id": "n1", "total": Resources(1, 1), "allow": ("math:*",)
    }  # fmt: skip
    WorkerConfig(**right).check()
    with pytest.raises(RqSchedError) as error:
        WorkerConfig(**{**right, **given(blank)}).check()
    assert error.value.exit_status == UsageError.exit_status


def test_the_space_around_a_key_is_not_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("a key of at least 16 characters\n")
    file.chmod(0o600)
    monkeypatch.setenv("RQ_SCHED_SIGNING_KEY", "a key of at least 16 characters\n")
    assert signing_key() == signing_key(str(file)) == "a key of at least 16 characters"
