"""A script as a Redis function: the same source, for servers and users that may load functions.

A script that comes by EVALSHA makes all its functions anew at each call, which costs more than most of their work.
In a function library they are made once, when it is loaded. What stays the same is that each call begins afresh:

- ``local function`` at the left margin is made once;
- ``local NAME = value`` at the left margin is declared once and assigned at each call, in the order of the source,
  except constants (capital letters; nothing of the call in their value), which are assigned when the library is loaded
  and must not be changed;
- the functions of an include stay in its block (``scripts.enclose_includes``);
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
_DECLARES = re.compile(rf"(?:local )?function |{_OPENS.pattern}|end -- ")
_CONTINUES = re.compile(r"[ })]|(?:end|else|elseif|until)\b")
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
    functions: list[str] = []
    constants: list[str] = []
    names: list[str] = ["KEYS", "ARGV"]
    begin: list[tuple[int, str]] = []  # how many names it sets, and the assignment
    body: list[str] = []
    inside = False
    for statement in _statements(source):
        if _DECLARES.match(statement):
            functions.append(statement)
            inside = _OPENS.match(statement) is not None or (inside and not statement.startswith("end -- "))
        elif inside:
            functions.append(statement)  # a constant of an include
        elif (assignment := _LOCAL.match(statement)) is None:
            body.append(statement)
        elif is_constant(statement):
            constants.append(statement)
        else:
            given = assignment["names"].split(", ")
            names += given
            set_anew = f"{assignment['names']} = {assignment['value'] or 'nil'}"
            if body:
                body.append(set_anew)
            else:
                begin.append((len(given), set_anew))
    name = name_of(script, source)
    starts = _begin(begin)
    flag_list = ", ".join(f"'{flag}'" for flag in flags)
    return "\n".join(
        [
            f"#!lua name={name}",
            f"local {', '.join(names)}",
            *constants,
            *functions,
            *(f"local function begin_{i}()\n{text}\nend" for i, text in enumerate(starts)),
            "local function main(keys, args)",
            "KEYS, ARGV = keys, args",
            *(f"begin_{i}()" for i in range(len(starts))),
            *body,
            "end",
            f"redis.register_function{{function_name='{name}', callback=main, flags={{{flag_list}}}}}",
            "",
        ]
    )


def _statements(source: str) -> list[str]:
    """What stands at the left margin, each with its indented lines and the line that closes it."""
    found: list[str] = []
    for line in source.splitlines()[1:]:
        if not line.strip() or line.startswith("--"):
            continue
        if found and _CONTINUES.match(line) and not line.startswith("end -- "):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found


def is_constant(statement: str) -> bool:
    """Whether it declares what stays the same for all calls."""
    assignment = _LOCAL.match(statement)
    if assignment is None:
        return False
    names = assignment["names"].split(", ")
    return all(_CONSTANT.match(name) for name in names) and not _OF_THE_CALL.search(assignment["value"] or "")


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
