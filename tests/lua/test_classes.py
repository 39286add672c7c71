"""Names of classes: scripts and Python read the same in the same bytes, and take only what can be one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rq_sched.errors import InvalidLabel, InvalidResources, InvalidValue, LimitUnknown
from rq_sched.link import Op, scripts
from rq_sched.link.scripts import Call
from rq_sched.model.amounts import limits_in, resources_in
from rq_sched.model.classes import class_of, group_of, need_of
from rq_sched.model.labels import of_suffix, refused_in
from rq_sched.model.resources import Resources
from tests.lua.cell import Cell

READ = """#!lua flags=no-writes
--- read_classes: the groups of classes with these names, and what they require; '' of what is no class.
-- ARGV: *names
--@include _queue
local function text_of(sign, list)
  local text = ''
  for _, one in ipairs(list or {}) do text = text .. sign .. one.name .. '=' .. string.format('%.0f', one.number) end
  return text
end
local read = {}
for i, name in ipairs(ARGV) do
  local need = class_parse(name)
  read[i] = need and need.group .. ' ' .. text_of('*', need.amounts) .. text_of('@', need.limits) or ''
end
return read
"""
SOUND = [
    "0:1", "0:256+ssd",
    "4:1024", "4:1024+ssd", "4:1024*gpu=2000", "4:1024*gpu=1", "4:1024*gpu=999", "4:1024@api=2",
    "1:1*a=1000000000000000", "4:1024+ssd+zone.1*gpu=2000*scratch=5000000@api=2@db-1=7!n1:5f!n3:a0",
    "1:1*a_-9=500@a_-9=1", "1:1@api=1000000000", "1:1*" + "n" * 32 + "=1000",
    "1:1" + "".join(f"*r{i}=1000" for i in range(16)), "1:1+gpu*gpu=1000@gpu=1!n.1:x",
]  # fmt: skip
NONE = [
    "", "x", "1", "1:", "-1:1", "1:0", "1:1*", "1:1@", "1:1!", "1:1+", "1:1*gpu", "1:1*gpu=", "1:1*=1", "1:1*gpu=0",
    "1:1*gpu=01000", "1:1*gpu=1001", "1:1*gpu=1500", "1:1*gpu=1e3", "1:1*gpu=-1", "1:1*gpu=0.5",
    "1:1*gpu=1000*gpu=1000", "1:1*GPU=1000", "1:1*9=1000", "1:1*-a=1000", "1:1*g.u=1000", "1:1*g u=1000",
    "1:1*" + "n" * 33 + "=1000", "1:1*gpu=1000000000001000", "1:1*gpu=1000000000000001000", "1:1*gpu=" + "9" * 5000,
    "1:1*gpu=1000+ssd", "1:1@api=1*gpu=1000", "1:1!n1:5f*gpu=1000", "1:1!n1:5f@api=1", "1:1@api", "1:1@api=0",
    "1:1@api=02", "1:1@api=1000000001", "1:1@api=1@api=1", "1:1@api=1.5", "1:1@=1", "1:1*gpu=1000 ", "1:1*gpu=1000\n",
    " 1:1*gpu=1000", "1:1*gpu=1000:x", "1:1*gpu==1000", "1:1**gpu=1000", "1:1*gpu=1000*", "1:1@@api=1",
    "1:1*gpu=1000@", "1:1*gpü=1000", "1:1*gpu=１", "1:1" + "".join(f"*r{i}=1000" for i in range(17)),
    "1:1" + "".join(f"@l{i}=1" for i in range(17)), "1:1*gpu\x00=1000", "1:1*gpu=1000\x00",
    "1:1+a*b=1000@c=1!n1:5f\n",
]  # fmt: skip
NAMES = st.text(st.sampled_from("ab1_-."), min_size=1, max_size=3)
PART = st.one_of(
    st.sampled_from(["+", "*", "@", "!", "=", ":", "0", "500", "1000", "1500", "a", "\n", "é"]),
    NAMES.map(lambda name: "+" + name),
    st.tuples(st.sampled_from("*@"), NAMES, st.sampled_from([0, 1, 500, 999, 1000, 1001, 2000, 10**9, 10**15])).map(
        lambda it: f"{it[0]}{it[1]}={it[2]}"
    ),
    st.just("!n1:5f"),
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> scripts.Script:
    folder: Path = tmp_path_factory.mktemp("lua") / "lua"
    shutil.copytree(scripts.FOLDER, folder)
    (folder / "read_classes.lua").write_text(READ, encoding="utf-8")
    return scripts.Script.of("read_classes", scripts.assemble("read_classes", folder))


def read(cell: Cell, reader: scripts.Script, names: list[str]) -> list[str]:
    """What scripts read in them."""
    found = cell.run(asked(Call(reader, cell.store.keys.prefix, [name.encode() for name in names])))
    return [text.decode() for text in found]


def asked(call: Call) -> Op[Any]:
    return (yield [call])[0]


def expected(name: str) -> str:
    group = group_of(name)
    amounts = "".join(f"*{one}={number}" for one, number in resources_in(name).items())
    return group and f"{group} {amounts}" + "".join(f"@{one}={number}" for one, number in limits_in(name).items())


def same(cell: Cell, reader: scripts.Script, names: list[str]) -> list[str]:
    found = read(cell, reader, names)
    assert found == [expected(name) for name in names]
    return found


def test_both_sides_read_the_same(cell: Cell, reader: scripts.Script) -> None:
    assert all(same(cell, reader, SOUND))
    assert not any(same(cell, reader, NONE))

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.lists(PART, max_size=6).map("".join), min_size=1, max_size=50))
    def parts(ends: list[str]) -> None:
        same(cell, reader, ["4:1024" + end for end in ends])

    parts()


def test_a_name_says_what_it_was_made_of() -> None:
    name = class_of(Resources(4, 1024), ["ssd", "zone.1"], {"scratch": 5_000_000, "gpu": 500}, {"web": 3, "api": 2})
    assert name == "4:1024+ssd+zone.1*gpu=500*scratch=5000000@api=2@web=3"
    name += "!n1:5f!n3:a0"
    assert need_of(name) == Resources(4, 1024)
    assert of_suffix(name) == ("ssd", "zone.1")
    assert (resources_in(name), limits_in(name)) == ({"gpu": 500, "scratch": 5_000_000}, {"api": 2, "web": 3})
    assert refused_in(name) == ("n1:5f", "n3:a0")


def test_what_is_no_class_is_refused_and_what_is_one_waits(cell: Cell) -> None:
    for limit in {limit for name in SOUND for limit in limits_in(name)}:
        cell.run(cell.store.limit_set(limit, 10))
    arguments: list[Any] = ["ab", 0, "", "t0", "1:1", "digest", "run=m:f\nwith="]
    for i, name in enumerate(SOUND + NONE):
        arguments[3:5] = f"t{i}", name.encode()
        refused = False
        try:
            cell.run(asked(cell.store.call("task_submit", *arguments)))
        except LimitUnknown:
            pass  # it was read
        except (InvalidResources, InvalidLabel, InvalidValue):
            refused = True
        assert refused != (name in SOUND and "!" not in name), name
