"""Every command line of ours that a page shows names a command and options that there are. (``test_commands.py`` runs
those of the README, the tutorial and the guides.)"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rq_sched.cli import cli
from tests.docs.pages import DOCS, ROOT, blocks, name_of, pages

HISTORY = [DOCS / "decisions", ROOT / "CHANGELOG.md", ROOT / "bench" / "NOTEBOOK.md"]
NOW = [page for page in pages() if not any(page == place or place in page.parents for place in HISTORY)]
LINE = re.compile(r"^(?:\$ |[A-Z_]+=\S+ )*rq-sched ([^|;&>#`]+)")
NO_OPTION = re.compile(r"-\d")


def command_lines(page: Path) -> Iterator[str]:
    """What follows ``rq-sched`` in its fenced blocks, with lines that go on put together."""
    for block in blocks(page):
        if block.language in ("sh", "bash", "console", "shell", ""):
            for line in block.text.replace("\\\n", " ").splitlines():
                if found := LINE.match(line.strip()):
                    yield found[1].strip()


def wrong(line: str) -> str | None:
    """What is wrong with the words after ``rq-sched``, if anything."""
    words = shlex.split(line, comments=True)
    while words and words[0].startswith("-"):  # options of the program itself, each with a value in its next word
        words = words[2:] if "=" not in words[0] and words[0] not in ("--help", "--version", "--json") else words[1:]
    if not words or not words[0].islower():
        return None  # a placeholder, such as COMMAND
    command = cli.get_command(click.Context(cli), words[0])
    if command is None:
        return f"there is no command {words[0]}"
    known = {
        option for one in command.get_params(click.Context(command)) for option in (*one.opts, *one.secondary_opts)
    }
    for word in words[1:]:
        if word == "--":
            break
        name = word.partition("=")[0]
        is_option = name.startswith("--") or (len(name) == 2 and name[0] == "-" and not NO_OPTION.match(name))
        if is_option and name not in known | {"--help"}:
            return f"{words[0]} has no option {name}"
    return None


@pytest.mark.parametrize("page", NOW, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    found = [f"rq-sched {line}: {said}" for line in command_lines(page) if (said := wrong(line))]
    assert not found, "\n".join(found)


def test_there_are_many() -> None:
    assert sum(1 for page in NOW for _ in command_lines(page)) > 60


@pytest.mark.parametrize("line", ["submitt m:f", "submit m:f --cpus 2", "status --waitt t1"])
def test_a_wrong_one_is_noticed(line: str) -> None:
    assert wrong(line)


@pytest.mark.parametrize(
    "line", ["submit m:f -- --cpus", "--redis unix:///s status t1", "priority --to -3 t1", "COMMAND"]
)
def test_a_right_one_is_not(line: str) -> None:
    assert wrong(line) is None
