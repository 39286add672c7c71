"""What the pages name is there: pages, anchors, pictures, files, functions, numbered promises, decisions."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, anchors, name_of, pages, prose, slug

PAGES = pages()
LINK = re.compile(r"(?<!`)!?\[[^]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`([\w@~.*/-]+/[\w@.*-]+\.(?:py|lua|md|csv|svg|png|yaml|yml|conf|service|acl|toml|example))`")
BARE = re.compile(r"`([a-z_]\w*\.(?:py|lua))`")
READERS_OWN = {"_name.lua", "jobs.py", "submit.py", "resources.py", "sweep.py", "load.py", "train.py", "test_shop.py"}
"""Files that the reader writes, and examples of names."""
HISTORY = [DOCS / "decisions", ROOT / "CHANGELOG.md", ROOT / "bench" / "NOTEBOOK.md"]
"""What was so when it was written: paths in it may be gone."""


def history(page: Path) -> bool:
    return any(page == place or place in page.parents for place in HISTORY)


NOW = [page for page in PAGES if not history(page) or page.name == "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in anchors(file), f"{target}: no such heading"


@pytest.mark.parametrize("page", NOW, ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    text = prose(page)
    places = [ROOT, page.parent, ROOT / "rq_sched", ROOT / "tests", ROOT / "tests" / "faults", DOCS]
    for path in PATH.findall(text):
        if path.startswith(("/", "~")) or (re.search(r"[A-Z]{3}", Path(path).name) and "README" not in path):
            continue
        assert any(list(place.glob(path)) for place in places), f"{path}: no such file"
    known = {file.name for folder in ("rq_sched", "lua", "tests", "bench", "examples") for file in _files(folder)}
    for name in set(BARE.findall(text)) - READERS_OWN:
        assert name in known | {"cli.py"}, f"{name}: no such file"


def _files(folder: str) -> list[Path]:
    return [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.lua")]


def test_no_link_to_the_site_leaves_it() -> None:
    """A page of the site may only link to pages of the site: others aren't there."""
    for page in DOCS.rglob("*.md"):
        for target in LINK.findall(prose(page)):
            if "://" not in target and not target.startswith("#"):
                assert DOCS in (page.parent / target.partition("#")[0]).resolve().parents, f"{name_of(page)}: {target}"


def test_every_page_stands_in_the_navigation() -> None:
    named = set(re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page.parent.name != "decisions"}
    assert named == there | {"decisions/README.md"}


def test_every_decision_stands_in_the_index() -> None:
    index = (DOCS / "decisions" / "README.md").read_text()
    decisions = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    numbers = [page.name[:3] for page in decisions]
    assert len(set(numbers)) == len(numbers)
    for page in decisions:
        number, title = page.read_text().splitlines()[0].removeprefix("# ").split(": ", 1)
        assert f"| {number} | [{title}]({page.name}) |" in index, page.name


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (tmp_path / "rq_sched").symlink_to(ROOT / "rq_sched")
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "build" / "site"
    assert (site / "tutorial.html").is_file()
    assert "submit_many" in (site / "api" / "client.html").read_text()


# -- promises and invariants ------------------------------------------------------------------------

CITED = [
    *(file for folder in ("rq_sched", "lua", "tests", "examples", "bench") for file in _files(folder)),
    *(page for page in PAGES if page != DOCS / "promises.md"),
]


def test_every_cited_promise_exists() -> None:
    page = (DOCS / "promises.md").read_text()
    known = {int(number) for number in re.findall(r"^\| (\d+) \| \*\*", page, re.M)}
    assert known == set(range(1, max(known) + 1))
    cited: dict[int, Path] = {}
    for file in CITED:
        for first, second in re.findall(r"\b[Pp]romises? (\d+)(?: and (\d+))?", file.read_text()):
            cited |= {int(number): file for number in (first, second) if number}
    assert {number: file for number, file in cited.items() if number not in known} == {}
    assert {4, 7, 10} <= set(cited)


def test_every_cited_invariant_exists() -> None:
    page = (DOCS / "promises.md").read_text()
    known = set(re.findall(r"^\| (I\d+) \|", page, re.M))
    assert known == {f"I{number}" for number in range(1, len(known) + 1)}
    cited = {name: file for file in CITED for name in re.findall(r"\bI\d{1,2}\b", file.read_text())}
    assert {name: file for name, file in cited.items() if name not in known} == {}
    assert {"I1", "I10", "I14"} <= set(cited)


# -- the ten questions ------------------------------------------------------------------------------

QUESTIONS = re.findall(r"^\| ([^|]+\?) \| `([^`]+)` \| `([^`]+)` \|$", (DOCS / "architecture.md").read_text(), re.M)


def test_there_are_ten_questions() -> None:
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize(("question", "file", "name"), QUESTIONS, ids=[slug(question) for question, _, _ in QUESTIONS])
def test_a_question_is_answered_where_the_page_says(question: str, file: str, name: str) -> None:
    assert name in defined(ROOT / file), f"{file} doesn't define {name}"


def defined(file: Path) -> set[str]:
    """The functions, classes and constants of a file."""
    text = file.read_text()
    if file.suffix == ".lua":
        return set(re.findall(r"^(?:local )?function (\w+)", text, re.M))
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names
