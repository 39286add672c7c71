"""A script as a Redis function: the same source, for servers and users that may load functions.

A script that comes by EVALSHA makes all its functions anew at each call, which costs more than most of their work.
In a function library they are made once, when it is loaded. What stays the same is that each call begins afresh:

- ``local function`` at the left margin is made once;
- ``local NAME = value`` at the left margin is declared once and assigned at each call, in the order of the source,
  except constants (capital letters; nothing of the call in their value), which are assigned when the library is loaded
  and must not be changed; only what would come out the same in every call (what a name says) may be kept in one;
- the functions and variables of an include stay in its block (``scripts.enclose_includes``), with a function that sets
  the variables at each call, ``afresh_NAME``;
- every other statement is the body of the function that is registered.

Source: https://valkey.io/topics/functions-intro/
"""

from __future__ import annotations

import re
from hashlib import sha1

_SHEBANG = re.compile(r"\A#!lua(?: flags=(\S+))?\n")
_LOCAL = re.compile(r"^local (?P<names>\w+(?:, \w+)*)\s*(?:=\s*(?P<value>.*)|--.*)?$", re.DOTALL)
_CONSTANT = re.compile(r"[A-Z][A-Z_]+\Z")
_OF_THE_CALL = re.compile(r"\b(?:P|KEYS|ARGV|call)\b")
_OPENS = re.compile(r"(?:local [\w, ]+ )?do -- ")
_CLOSES = re.compile(r"end -- (\w+)")
_FUNCTION = re.compile(r"(?:local )?function ")
_CONTINUES = re.compile(r"[ })]|(?:end|else|elseif|until)\b")
KNOWS_VERSIONS = "-- by code that knows versions of the data"
"""Stands in each library: one without it is of a version before there were any (``upgrade/fence.py``)."""
UPVALUES = 50
"""Names that one Lua function may take from outside: the limit is 60."""


def name_of(script: str, source: str) -> str:
    """The name of the library and of its one function: another source has another name, so versions live side by side.

    >>> name_of("place", "#!lua\\n")
    'rqs_place_64616d1afc'
    """
    return f"rqs_{script}_{sha1(source.encode()).hexdigest()[:10]}"


def library(script: str, source: str) -> str:
    """The text for FUNCTION LOAD.

    Parameters:
        script: its name.
        source: its text as EVAL gets it, put together from its includes.
    """
    found = _SHEBANG.match(source)
    flags = found[1].split(",") if found and found[1] else []
    parts = _Parts()
    statements = _statements(source)
    own = max((i + 1 for i, statement in enumerate(statements) if _CLOSES.match(statement)), default=len(statements))
    for statement in statements[:own]:
        parts.take(statement)
    parts.take_own(statements[own:])
    name = name_of(script, source)
    starts = _begin(parts.begin)
    flag_list = ", ".join(f"'{flag}'" for flag in flags)
    return "\n".join(
        [
            f"#!lua name={name}",
            KNOWS_VERSIONS,
            f"local {', '.join(parts.names)}",
            *parts.constants,
            *parts.functions,
            *(f"local function begin_{i}()\n{text}\nend" for i, text in enumerate(starts)),
            "local function main(keys, args)",
            "KEYS, ARGV = keys, args",
            *([f"local {', '.join(parts.own)}"] if parts.own else []),
            *(f"begin_{i}()" for i in range(len(starts))),
            *parts.body,
            "end",
            f"redis.register_function{{function_name='{name}', callback=main, flags={{{flag_list}}}}}",
            "",
        ]
    )


class _Parts:
    """The statements of a script by where they go in its library."""

    def __init__(self) -> None:
        self.names = ["KEYS", "ARGV"]
        self.constants: list[str] = []
        self.functions: list[str] = []
        self.begin: list[tuple[int, str]] = []  # how many names it sets, and the assignment
        self.body: list[str] = []
        self.own: list[str] = []  # names of the script itself that none of its functions uses: they are main's
        self._block: list[str] | None = None  # of an include, and what sets its variables
        self._set_in_block: list[str] = []

    def take(self, statement: str) -> None:
        """The next statement."""
        if _OPENS.match(statement):
            self._block, self._set_in_block = [statement], []
        elif self._block is not None:
            self._take_in_block(self._block, statement)
        elif _FUNCTION.match(statement):
            self.functions.append(statement)
        elif is_constant(statement):
            self.constants.append(statement)
        elif assignment := _LOCAL.match(statement):
            given = assignment["names"].split(", ")
            self.names += given
            self._set_anew(len(given), _assigned(assignment))
        else:
            self.body.append(statement)

    def take_own(self, statements: list[str]) -> None:
        """What stands behind all includes. Names that only the body uses are of main: outside there is room for 200."""
        used = {word for one in statements if _FUNCTION.match(one) for word in re.findall(r"\w+", one)}
        for statement in statements:
            assignment = _LOCAL.match(statement)
            names = assignment["names"].split(", ") if assignment else []
            if assignment and not is_constant(statement) and not _FUNCTION.match(statement) and not used & set(names):
                self.own += names
                self.body.append(_assigned(assignment))
            else:
                self.take(statement)

    def _take_in_block(self, block: list[str], statement: str) -> None:
        if closing := _CLOSES.match(statement):
            self.functions += [*_block(block, closing[1], self._set_in_block), statement]
            self._block = None
            if self._set_in_block:
                self._set_anew(1, f"afresh{closing[1]}()")
        elif not is_constant(statement) and (assignment := _LOCAL.match(statement)):
            block.append(f"local {assignment['names']}")
            self._set_in_block.append(_assigned(assignment))
        else:
            block.append(statement)

    def _set_anew(self, width: int, text: str) -> None:
        """At each call: before the body, until that has begun."""
        if self.body:
            self.body.append(text)
        else:
            self.begin.append((width, text))


def _assigned(assignment: re.Match[str]) -> str:
    return f"{assignment['names']} = {assignment['value'] or 'nil'}"


def _statements(source: str) -> list[str]:
    """What stands at the left margin, each with its indented lines and the line that closes it."""
    found: list[str] = []
    for line in source.splitlines()[1:]:
        if not line.strip() or line.startswith("--"):
            continue
        if found and continues(line) and not line.startswith("end -- "):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found


def continues(line: str) -> bool:
    """Whether a line belongs to the statement at the left margin that began above it."""
    return _CONTINUES.match(line) is not None


def is_constant(statement: str) -> bool:
    """Whether it declares what stays the same for all calls."""
    assignment = _LOCAL.match(statement)
    if assignment is None:
        return False
    names = assignment["names"].split(", ")
    return all(_CONSTANT.match(name) for name in names) and not _OF_THE_CALL.search(assignment["value"] or "")


def _block(lines: list[str], name: str, assignments: list[str]) -> list[str]:
    """The lines of an include's block, with a function that sets its variables, if it has any: main calls it."""
    if not assignments:
        return lines
    opening, *rest = lines
    shared = opening.removeprefix("local ").partition("do -- ")[0].strip()
    names = f"{shared}, afresh{name}" if shared else f"afresh{name}"
    return [f"local {names} do -- {name}", *rest, f"function afresh{name}()", *assignments, "end"]


def _begin(assignments: list[tuple[int, str]]) -> list[str]:
    """The assignments, in so many functions that none takes too many names from outside."""
    parts: list[list[str]] = []
    room = 0
    for width, text in assignments:
        needs = width + 4  # and what its value names
        if needs > room:
            parts.append([])
            room = UPVALUES
        parts[-1].append(text)
        room -= needs
    return ["\n".join(part) for part in parts]
