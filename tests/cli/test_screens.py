"""Every screen at every width: no line is wider than the screen, ids stay whole, what matters is there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.cli.kit import HandCell
from tests.cli.screens import FILE, HELPS, SCREENS, WIDTHS, Screen, rich_cell, shown


@pytest.fixture
def rich(hand: HandCell, redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> HandCell:
    monkeypatch.setenv("RQ_SCHED_REDIS_URL", redis_url)
    monkeypatch.setenv("RQ_SCHED_NAMESPACE", namespace)
    return rich_cell(hand)


def test_every_screen_fits(
    rich: HandCell, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = []
    file = tmp_path / "tasks.jsonl"
    file.write_text(FILE)
    for screen in SCREENS:
        for width in WIDTHS:
            text, code = shown(screen, width, file, capsys, monkeypatch)
            problems += [f"{screen.words} at {width}: {problem}" for problem in wrong(screen, text, width, code)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("screen", HELPS, ids=lambda screen: screen.words)
def test_every_help_fits(
    screen: Screen, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in WIDTHS:
        text, code = shown(screen, width, tmp_path, capsys, monkeypatch)
        assert not wrong(screen, text, width, code), (width, text)


def wrong(screen: Screen, text: str, width: int, code: int) -> list[str]:
    """What isn't as it must be."""
    if folder := os.environ.get("SCREENS"):  # to look at them
        name = re.sub(r"[^a-z0-9-]+", "_", screen.words)[:50]
        (Path(folder) / f"{name}.{width}").write_text(f"$ rq-sched {screen.words}\n{text}")
    found = [] if code == screen.code else [f"exit code {code}: {text}"]
    for line in () if screen.raw else text.splitlines():
        if len(line) > width and " " in line.strip():  # an id that is longer than the screen stands alone
            found.append(f"{len(line)} columns: {line}")
    whole = " ".join(text.split())
    found += [f"{one!r} isn't there" for one in screen.must if one not in whole]
    return found
