"""The blocking client is made from the awaiting one (``tools/twins.py``)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools import twins


def test_the_twins_are_as_they_are_made() -> None:
    assert twins.differing() == []


def test_what_was_changed_by_hand_or_forgotten_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = tmp_path / "rq_sched" / "client"
    shutil.copytree(twins.CLIENT, client)
    monkeypatch.setattr(twins, "CLIENT", client)
    changed = client / "blocking" / "wait.py"
    changed.write_text(changed.read_text() + "# by hand\n")
    (client / "blocking" / "old.py").write_text("")
    (client / "blocking" / "nodes.py").unlink()
    assert twins.differing() == ["nodes.py", "old.py", "wait.py"]
    twins.make()
    assert twins.differing() == ["old.py"], "what nobody makes is left to who put it there"


@pytest.mark.parametrize(
    ("awaiting", "blocking"),
    [
        ("async def f(self) -> AsyncIterator[int]:", "def f(self) -> Iterator[int]:"),
        ("x = (await c.submit(f(1))).id", "x = c.submit(f(1)).id"),
        ("await (await client.submit()).result()", "client.submit().result()"),
        ("[x async for x in y()]", "[x for x in y()]"),
        ("f(await g())", "f(g())"),
        ("async with AsyncClient() as client:", "with Client() as client:"),
        ("an awaiting one, asynchronously", "an awaiting one, asynchronously"),
    ],
)
def test_what_differs(awaiting: str, blocking: str) -> None:
    assert twins.blocking(awaiting, "x.py").removeprefix(twins.HEADER.format(name="x.py")) == blocking
