"""The blocking client, made from the awaiting one: the same code without ``async`` and ``await``.

python -m tools.twins            make rq_sched/client/blocking/ from rq_sched/client/awaiting/
python -m tools.twins --check    only say whether they are as they would be made; exit 1 if not (``make lint``)

Both ``client.py`` and both ``__init__.py`` are written by hand: only ``Client`` has an executor.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "rq_sched" / "client"
BY_HAND = {"client.py", "__init__.py"}
HEADER = "# Made from ../awaiting/{name} by `python -m tools.twins`: change that one, and run it again.\n"
# In this order. Words that differ beside ``async`` and ``await``.
WORDS = [
    (r"\bclient\.awaiting\b", "client.blocking"),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b__a(enter|exit|iter)__\b", r"__\1__"),
    (r"\benter_async_context\b", "enter_context"),
    (r"\baclose\b", "close"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bimport asyncio\b", "import time"),
]


def blocking(text: str, name: str) -> str:
    """The blocking twin of an awaiting module.

    >>> print(blocking("async def f(c: AsyncClient): return (await c.submit()).id", "x.py").splitlines()[1])
    def f(c: Client): return c.submit().id
    """
    text = _unwrapped(text)
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    return HEADER.format(name=name) + text


def _unwrapped(text: str) -> str:
    """Without the parentheses that only ``await`` needs: ``(await x()).y`` is ``await x().y``."""
    begin = text.find("(await ")
    while begin >= 0:
        depth, end = 1, begin + 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        if not text[begin - 1 : begin].isidentifier() and text[end : end + 1] == ".":
            text = text[:begin] + text[begin + 1 : end - 1] + text[end:]
        begin = text.find("(await ", begin + 1)
    return text


def in_order(text: str, path: Path) -> str:
    """In the one format, imports sorted."""
    for words in (["check", "--select", "I,UP028,C416", "--fix-only", "--unsafe-fixes"], ["format"]):
        command = [sys.executable, "-m", "ruff", *words, "--quiet", "--config", "pyproject.toml"]
        command += ["--stdin-filename", str(path), "-"]
        text = subprocess.run(command, input=text, text=True, check=True, capture_output=True, cwd=ROOT).stdout
    return text


def made() -> dict[Path, str]:
    """The blocking modules as they are to be."""
    found = {}
    for source in sorted((CLIENT / "awaiting").glob("*.py")):
        if source.name not in BY_HAND:
            target = CLIENT / "blocking" / source.name
            found[target] = in_order(blocking(source.read_text(encoding="utf-8"), source.name), target)
    return found


def make() -> None:
    """Write them."""
    for path, text in made().items():
        path.write_text(text, encoding="utf-8")


def differing() -> list[str]:
    """Names of blocking modules that aren't as they are to be: missing, changed by hand, or without a source."""
    twins = made()
    wrong = [path.name for path, text in twins.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    strays = [p.name for p in (CLIENT / "blocking").glob("*.py") if p not in twins and p.name not in BY_HAND]
    return sorted(wrong + strays)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a twin isn't as it would be")
    if not parser.parse_args().check:
        make()
    wrong = differing()
    for name in wrong:
        print(
            f"rq_sched/client/blocking/{name} isn't what ../awaiting/{name} gives: change that one, "
            "then run `python -m tools.twins`",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
