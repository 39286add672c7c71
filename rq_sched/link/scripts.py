"""The Lua scripts: found, put together from their includes, and called by name.

A script begins with its contract (``lua/README.md``). ``load`` reads the names of its arguments from there; a test
holds them against the store's calls. It travels in one of three forms: a function (``functions.py``: the fastest), a
script for who may not load functions, and ``plain`` for servers that don't know ``#!lua`` (fakeredis).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from pathlib import Path

from rq_sched.errors import RqSchedError
from rq_sched.link import functions
from rq_sched.link.constants import CONSTANTS

FOLDER = Path(__file__).parents[1] / "lua"
Argument = str | bytes | int | float

_INCLUDE = re.compile(r"^--@include\s+(\S+)\s*$")
_MARK = re.compile(r"^ *--@mark \w+$")
"""A line that a test names, to plant a bug there: it stands above that line, and the server never gets it."""
_CONTRACT = re.compile(r"^-- ARGV: (.*)$", re.MULTILINE)
_SHEBANG = re.compile(r"\A#!lua[^\n]*\n")
_UNKNOWN = re.compile(r"(?:^|\s)--@")
_PART = "--@part "
_WITH = re.compile(r"^ *--@with (\w+)$")
_CONSTANT = re.compile(r"\bPY\.(\w+)\b")
_FUNCTION = re.compile(r"local function (\w+)")
_WORD = re.compile(r"(?<![\w:])(?<!(?<!\.)\.)[A-Za-z_]\w*")
_VARIABLE = re.compile(r"local (?!function )(\w+(?:, \w+)*)")
_ALIAS = re.compile(r"local \w+ = (?:redis|string|math|table)\.\w+\b|local P = KEYS")
_TEXT = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")


class ScriptError(RqSchedError):
    """A script can't be put together: an include is missing, included twice in one file, or includes itself; a constant
    is unknown; a variable of an include is used by others."""

    code = "script_error"


@dataclass(frozen=True, slots=True)
class Script:
    """One script as the server gets it."""

    name: str
    source: str
    sha: str
    function: str
    """The name of its library, and of the function in there."""
    library: str
    arguments: tuple[str, ...]
    variadic: bool

    @classmethod
    def of(cls, name: str, source: str) -> Script:
        """The script with this text.

        Raises:
            ScriptError: it has no contract.
        """
        contract = _CONTRACT.search(source)
        if contract is None:
            raise ScriptError(f"{name}.lua has no contract: a line '-- ARGV: name name …' is missing")
        arguments = contract[1].split()
        return cls(
            name=name,
            source=source,
            sha=sha1(source.encode()).hexdigest(),
            function=functions.name_of(name, source),
            library=functions.library(name, source),
            arguments=tuple(argument.lstrip("*") for argument in arguments),
            variadic=arguments[-1].startswith("*"),
        )

    @property
    def reads_only(self) -> bool:
        """Whether it says that it changes nothing: then a user who may only read may run it."""
        return self.source.startswith("#!lua flags=no-writes")

    @property
    def plain(self) -> str:
        return _SHEBANG.sub("\n", self.source)

    @property
    def plain_sha(self) -> str:
        return sha1(self.plain.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Call:
    """A script with its arguments: one request among those that an operation yields."""

    script: Script
    prefix: str
    arguments: Sequence[Argument]
    may_refuse: bool = False
    """Whether a refusal is an answer like any other: the exception, not raised."""


def assemble(name: str, folder: Path = FOLDER) -> str:
    """The text of a script with each of its includes once, before its first use, and numbers for constants.

    Raises:
        ScriptError: names the file and the include or the constant that is wrong.
    """
    done: list[str] = []
    left_out: list[tuple[str, str]] = []  # who leaves a line out, as this isn't included

    def expand(part: str, path: tuple[str, ...]) -> list[str]:
        if part in path:
            raise ScriptError(f"{path[-1]}.lua includes itself: {' → '.join((*path, part))}")
        try:
            text = (folder / f"{part}.lua").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ScriptError(
                f"no script {part}.lua in {folder} (included by {path[-1] if path else 'nobody'})"
            ) from None
        lines: list[str] = [_PART + part]
        included: set[str] = set()
        wanted = True
        for line in text.splitlines():
            if not wanted:
                wanted = True
                continue
            if "--@" not in line:  # nearly all
                lines.append(_with_numbers(line, part))
                continue
            if _MARK.match(line):
                continue
            if condition := _WITH.match(line):
                wanted = condition[1] in done
                if not wanted:
                    left_out.append((part, condition[1]))
                continue
            found = _INCLUDE.match(line)
            if not found:
                if _UNKNOWN.search(line):
                    raise ScriptError(f"{part}.lua: {line.strip()!r} is no --@include, --@with or --@mark NAME")
                lines.append(_with_numbers(line, part))
                continue
            other = found[1]
            if other in included:
                raise ScriptError(f"{part}.lua includes {other} twice")
            included.add(other)
            if other not in done:
                lines += [*expand(other, (*path, part)), _PART + part]
                done.append(other)
        return lines

    lines = expand(name, ())
    for part, other in left_out:
        if other in done:
            raise ScriptError(f"{name}.lua: {part} must be included after {other}, as it says --@with {other}")
    return "\n".join(enclose_includes(without_unused(lines))) + "\n"


def _with_numbers(line: str, part: str) -> str:
    """The line with the number for each ``PY.NAME``."""

    def number(found: re.Match[str]) -> str:
        if found[1] not in CONSTANTS:
            raise ScriptError(f"{part}.lua: no constant {found[1]} in rq_sched/link/constants.py")
        return str(CONSTANTS[found[1]])

    return _CONSTANT.sub(number, line) if "PY." in line else line


def without_unused(lines: list[str]) -> list[str]:
    """The same without the functions that this script never calls: an include has more of them than each script needs,
    and a server walks all that it holds again and again, as it collects what Lua doesn't need any more.

    >>> without_unused(["local function f() g() end", "local function g() end", "local function h() f() end", "g()"])
    ['local function g() end', 'g()']
    """
    statements: list[list[str]] = []
    for line in lines:
        if statements and functions.continues(line):
            statements[-1].append(line)
        else:
            statements.append([line])
    calls: dict[str, frozenset[str]] = {}
    reached: set[str] = set()
    for statement in statements:
        words = _words(tuple(statement))
        if found := _FUNCTION.match(statement[0]):
            calls[found[1]] = words
        else:
            reached |= words
    new = reached & calls.keys()
    while new:
        new = {word for name in new for word in calls[name] if word in calls} - reached
        reached |= new
    used = (s for s in statements if not (found := _FUNCTION.match(s[0])) or found[1] in reached)
    return [line for statement in used for line in statement]


def enclose_includes(lines: list[str]) -> list[str]:
    """The same with the functions and variables of each include in a block of their own: what no other part uses isn't
    seen outside. (Lua has room for 200 names at a time.)

    Raises:
        ScriptError: a part uses a variable of an include. What others need of it is a function with a name.

    >>> enclose_includes(["--@part _x", "local function f() end", "local function g() f() end", "--@part x", "g()"])
    ['local g do -- _x', 'local function f() end', 'function g() f() end', 'end -- _x', 'g()']
    """
    parts: list[list[str]] = []
    for line in lines:
        if line.startswith(_PART):
            parts.append([])
        parts[-1].append(line)
    words = [_words(tuple(part)) for part in parts]
    text: list[str] = []
    for part, own in zip(parts, words, strict=True):
        name, own_lines = part[0].removeprefix(_PART), part[1:]
        if not name.startswith("_"):
            text += own_lines
            continue
        own_variables = _variables_of(tuple(own_lines))
        for other, others_words in zip(parts, words, strict=True):
            if other[0] != part[0] and (taken := own_variables & others_words):
                user = other[0].removeprefix(_PART)
                raise ScriptError(f"{user}.lua uses {', '.join(sorted(taken))} of {name}.lua: ask it by a function")
        functions = [found[1] for line in own_lines if (found := _FUNCTION.match(line))]
        if not functions:
            text += own_lines
            continue
        others = {word for other in words if other is not own for word in other}
        shared = [function for function in functions if function in others]
        variables, rest = _variables(own_lines, others)  # what it declares for all stands before its block
        opening = f"local {', '.join(shared)} do -- {name}" if shared else f"do -- {name}"
        text += [*variables, opening]
        text += [line.removeprefix("local ") if _gives(line, shared) else line for line in rest]
        text.append(f"end -- {name}")
    return text


@cache  # scripts share their includes
def _words(lines: tuple[str, ...]) -> frozenset[str]:
    """What these lines name: neither text nor comments, nor fields after a dot."""
    return frozenset(_WORD.findall("\n".join(_TEXT.sub("''", line).partition("--")[0] for line in lines)))


@cache
def _variables_of(lines: tuple[str, ...]) -> frozenset[str]:
    """The names at the left margin of an include that are neither functions, constants nor other names of what Lua and
    Redis give."""
    found = [match for line in lines if (match := _VARIABLE.match(line)) and not _ALIAS.match(line)]
    return frozenset(name for match in found for name in match[1].split(", ") if not name.isupper())


def _gives(line: str, names: Sequence[str]) -> bool:
    found = _FUNCTION.match(line)
    return found is not None and found[1] in names


def _variables(lines: list[str], others: set[str]) -> tuple[list[str], list[str]]:
    """What an include declares at its left margin, beside functions, that others use; and the rest."""
    statements: list[list[str]] = []
    for line in lines:
        if statements and line.startswith((" ", "}", ")")):
            statements[-1].append(line)
        else:
            statements.append([line])
    variables: list[str] = []
    rest: list[str] = []
    for statement in statements:
        first = statement[0]
        outside = first.startswith("local ") and not _FUNCTION.match(first)
        if outside:
            outside = not others.isdisjoint(_WORD.findall(first.partition("=")[0])[1:])
        (variables if outside else rest).extend(statement)
    return variables, rest


@cache
def load(name: str) -> Script:
    """The script of that name.

    Raises:
        ScriptError: there is none, or it can't be put together.
    """
    return Script.of(name, assemble(name))


def names(folder: Path = FOLDER) -> list[str]:
    """All scripts, without the includes (those begin with ``_``)."""
    return sorted(path.stem for path in folder.glob("*.lua") if not path.name.startswith("_"))
