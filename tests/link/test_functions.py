"""A script becomes a function library: made once, and yet each call begins afresh."""

from __future__ import annotations

import re

import pytest

from rq_sched.link import Link, Op, scripts
from rq_sched.link.functions import KNOWS_VERSIONS, library, name_of

SOURCE = """#!lua flags=allow-oom
-- what it is about
local P = KEYS[1]
local call = redis.call
local LIMIT, NAMES = 3, {
  'a',
}
local seen, twice = {}, 0 -- of this call
local unset -- until something is noted

local function note(word)
  seen[#seen + 1] = word
  unset = word
end

for i = 2, #ARGV do note(ARGV[i]) end
local n = #seen
if n >= LIMIT then return { 'many', n } end
call('SET', P .. 'last', unset or 'nothing')
return { NAMES[1], n }
"""


def ask(*command: str) -> Op[object]:
    return (yield [command])[0]


def test_the_parts_of_a_script_go_where_they_belong() -> None:
    text = library("x", SOURCE)
    begins = f"#!lua name={name_of('x', SOURCE)}\n{KNOWS_VERSIONS}\nlocal KEYS, ARGV, P, call, seen, twice, unset, n\n"
    assert text.startswith(begins)
    assert "\nlocal LIMIT, NAMES = 3, {\n  'a',\n}\nlocal function note(word)\n" in text
    assert "\nP = KEYS[1]\ncall = redis.call\nseen, twice = {}, 0 -- of this call\nunset = nil\nend\n" in text
    assert text.rstrip().endswith("callback=main, flags={'allow-oom'}}")


def test_each_call_begins_afresh(link: Link, namespace: str) -> None:
    prefix, name = f"rqs:{{{namespace}}}:", name_of("x", SOURCE)
    link.run(ask("FUNCTION", "LOAD", library("x", SOURCE)))
    try:
        assert link.run(ask("FCALL", name, "1", prefix, "", "u", "v")) == [b"a", 2]
        assert link.run(ask("FCALL", name, "1", prefix, "", "u", "v", "w")) == [b"many", 3]
        assert link.run(ask("FCALL", name, "1", prefix, "")) == [b"a", 0]
        assert link.run(ask("GET", prefix + "last")) == b"nothing"
    finally:
        link.run(ask("FUNCTION", "DELETE", name))
        link.run(ask("DEL", prefix + "last"))


IN_BLOCKS = """#!lua
-- ARGV: now_ms
local P = KEYS[1]
local add, added do -- _x
local sum, many = tonumber(ARGV[2]), {}
function add(n)
  sum = sum + n
  many[#many + 1] = n
end
function added() return { sum, #many } end
end -- _x
add(1)
return added()
"""


def test_variables_of_an_include_stay_in_its_block_and_begin_afresh(link: Link, namespace: str) -> None:
    name, text = name_of("x", IN_BLOCKS), library("x", IN_BLOCKS)
    assert text.startswith(
        f"#!lua name={name}\n{KNOWS_VERSIONS}\nlocal KEYS, ARGV, P\n"
        "local add, added, afresh_x do -- _x\nlocal sum, many\n"
    )
    link.run(ask("FUNCTION", "LOAD", text))
    try:
        for given in ("5", "7"):
            assert link.run(ask("FCALL", name, "1", f"rqs:{{{namespace}}}:", "", given)) == [int(given) + 1, 1]
    finally:
        link.run(ask("FUNCTION", "DELETE", name))


OF_THE_BODY = IN_BLOCKS.replace(
    "add(1)\n", "local one, two = 1, 2\nlocal function more() add(two) end\nadd(one)\nmore()\n"
)


def test_what_only_the_body_uses_is_its_own(link: Link, namespace: str) -> None:
    """Lua has room for 200 names outside of functions."""
    mine = OF_THE_BODY.replace("one, two = 1, 2", "one = 1\nlocal two = 2")
    name, text = name_of("x", mine), library("x", mine)
    assert "local KEYS, ARGV, P, two\n" in text
    assert "KEYS, ARGV = keys, args\nlocal one\n" in text
    assert "ARGV, P, one, two\n" in library("x", OF_THE_BODY)
    link.run(ask("FUNCTION", "LOAD", text))
    try:
        for given in ("5", "7"):
            assert link.run(ask("FCALL", name, "1", f"rqs:{{{namespace}}}:", "", given)) == [int(given) + 3, 2]
    finally:
        link.run(ask("FUNCTION", "DELETE", name))


def test_another_source_has_another_name() -> None:
    assert name_of("x", SOURCE) != name_of("x", SOURCE + "\n")
    assert re.fullmatch(r"rqs_x_[0-9a-f]{10}", name_of("x", SOURCE))


@pytest.mark.parametrize("name", scripts.names())
def test_no_two_things_at_the_left_margin_share_a_name(name: str) -> None:
    """In a library all of them are declared at one place: the later one would take the earlier one's."""
    found: list[str] = []
    for line in scripts.load(name).source.splitlines():
        if declared := re.match(r"local (?:function )?(\w+(?:, \w+)*)", line):
            found += declared[1].split(", ")
    twice = {one for one in found if found.count(one) > 1}
    assert not twice, f"{name}.lua and its includes declare {twice} twice"


def test_functions_are_local() -> None:
    """Loading a library makes no globals; what an include shares is declared by ``scripts.enclose_includes``."""
    for path in scripts.FOLDER.glob("*.lua"):
        assert not re.findall(r"^function .*", path.read_text(), re.MULTILINE), f"{path.name}: write local function"


@pytest.mark.parametrize("name", scripts.names())
def test_there_is_room_for_names(name: str) -> None:
    """Lua has 200 at a time: those of the script, those that its includes share, and those of one include."""
    shared = inside = most = 0
    in_block = False
    for line in scripts.load(name).library.partition("\nlocal function main(")[0].splitlines():
        opens = re.match(r"(?:local [\w, ]+ )?do -- ", line)
        found = re.match(r"local (?:function )?(\w+(?:, \w+)*)", line)
        number = found[1].count(",") + 1 if found else 0
        if opens or line.startswith("end -- "):
            in_block, inside = opens is not None, 0
        if in_block and not opens:
            inside += number
        else:
            shared += number
        most = max(most, shared + inside)
    assert most < 196, f"{name}.lua has {most} names: let functions that only one script needs stand in it"


@pytest.mark.parametrize("name", scripts.names())
def test_the_server_takes_each(name: str, link: Link) -> None:
    link.load([name])
    libraries = link.run(ask("FUNCTION", "LIST", "LIBRARYNAME", scripts.load(name).function))
    assert isinstance(libraries, list)
    assert len(libraries) == 1
