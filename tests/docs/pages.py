"""The pages of this repository, and what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.S | re.M)


def pages() -> list[Path]:
    """Every Markdown file that people read, except those that were made by tools."""
    found = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    for folder in ("docs", "lua", "bench", "deploy"):
        found += sorted((ROOT / folder).rglob("*.md"))
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text without indentation, and the number of its first line."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in _FENCE.finditer(text):
        indent, info, inside = found.groups()
        language = info.split()[0] if info.split() else ""
        lines = [line.removeprefix(indent) for line in inside.splitlines()]
        yield Block(language, "\n".join(lines), text.count("\n", 0, found.start()) + 2)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def slug(heading: str) -> str:
    """The anchor of a heading, the same on code hosts and on the site.

    >>> slug("What `--allow` covers")
    'what---allow-covers'
    """
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"[^\w\s-]", "", text.replace("`", "").lower())
    return text.strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(title) for title in re.findall(r"^#+ +(.+?)\s*$", prose(page), re.M)}
