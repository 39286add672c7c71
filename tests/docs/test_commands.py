"""Whoever does what the README or the tutorial says, in a fresh folder and a fresh environment, gets what they say."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, blocks
from tests.docs.reader import INSTALL, VENV, Reader, commands, dependencies, make_wheel
from tests.faults.servers import Server

pytestmark = pytest.mark.timeout(300)
"""Each takes 15 to 30 s: some forty commands are started, one after the other."""


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command that installs this checkout's wheel, with what is installed here as its dependencies."""
    folder = tmp_path_factory.mktemp("install")
    wheel, paths = shlex.quote(str(make_wheel(folder))), shlex.quote(str(dependencies(folder)))
    return (
        f"{shlex.quote(sys.executable)} -m pip --python .venv/bin/python install -q --no-index --no-deps {wheel} && "
        f"cp {paths} .venv/lib/python3.*/site-packages/"
    )


@pytest.fixture
def reader(install: str, tmp_path: Path) -> Iterator[Reader]:
    with Server(tmp_path / "redis") as server:
        reader = Reader(tmp_path, install, f"127.0.0.1:{server.port}")
        yield reader
        reader.leave()


RESOURCES = "--resource gpu=4 --resource scratch=200000"
"""What guides/gpus.md says, and the comparison."""
PAGES = [ROOT / "README.md", DOCS / "tutorial.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_works_as_written(page: Path, reader: Reader) -> None:
    reader.follow(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_begins_with_nothing(page: Path) -> None:
    typed = [command for block in blocks(page) if block.language == "sh" for command in commands(block.text)]
    assert any(command.startswith(INSTALL) for command in typed)
    assert len(typed) > 10


def test_the_guides_work_as_written(reader: Reader) -> None:
    """One after the other, in one folder, beside a running ``rq-sched up``."""
    reader.type("mkdir guides && cd guides", VENV, ". .venv/bin/activate", INSTALL, f"rq-sched up {RESOURCES}")
    guides = sorted((DOCS / "guides").glob("*.md"))
    assert len(guides) > 5
    for guide in guides:
        reader.follow(guide)
    reader.follow(DOCS / "comparison.md")
