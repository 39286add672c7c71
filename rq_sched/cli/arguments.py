"""The words of a command line that are a function's arguments, or a command."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Sequence
from typing import Any, NoReturn

from rq_sched.errors import InvalidTarget, InvalidValue


def parse_arguments(words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments from words: text, ``key=value`` (key a Python identifier), ``key:=json``, ``:=json``.

    Raises:
        InvalidValue: broken JSON, or a key that is given twice.

    >>> parse_arguments(["a", "n:=3", "name=x", ":=[1]"])
    (['a', [1]], {'n': 3, 'name': 'x'})
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        found = _KEYWORD.fullmatch(word)
        if found is None or found[1] + found[2] == "=":
            args.append(word)
            continue
        key, sign, text = found.groups()
        value = _json(word, text) if sign == ":=" else text
        if not key:
            args.append(value)
        elif key in kwargs:
            raise InvalidValue(f"the argument {key} is given twice")
        else:
            kwargs[key] = value
    return args, kwargs


def as_typed(word: str) -> str | bytes:
    """A word for a command: text, whatever this terminal's locale is, or the bytes of a name that isn't UTF-8."""
    typed = os.fsencode(word)
    try:
        return typed.decode()
    except UnicodeDecodeError:
        return typed


def plain_json(text: str | bytes) -> Any:
    """A JSON value; what Python reads beyond it is none.  Raises: ValueError, RecursionError."""
    return json.loads(text, parse_constant=_no_json, parse_float=_finite)


def _no_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_json(f"{text}, too large for a float,")


def _json(word: str, text: str) -> Any:
    try:
        return plain_json(text)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"what stands after := must be JSON: {word!r}: {error}") from None


def find_command(name: str) -> str:
    """The full path of a command: looked up on PATH, or taken as it is where it is one (nodes may have what this
    machine hasn't).

    Symbolic links in it are kept: where they lead is found out on the node, when the command runs. A release may have
    been switched by then, and a program may go by its name (busybox), or by where its link lies (the python of a
    virtual environment).

    Raises:
        InvalidTarget: no such command.
    """
    found = name if os.path.isabs(name) else shutil.which(name)
    if found is None:
        raise InvalidTarget(f"no command {name!r} on this machine: give its full path as it is on the nodes")
    return found if os.path.isabs(found) else os.path.join(here(), found.removeprefix("./"))


def here() -> str:
    """The present folder as the user knows it: the way by which the shell came here, if it leads here."""
    told = os.environ.get("PWD", "")
    try:
        if os.path.isabs(told) and os.path.samefile(told, "."):
            return told
    except OSError:
        pass
    return os.getcwd()


def submitted_from() -> dict[str, str]:
    """What is said of a command without ``--chdir`` (``model/surroundings.py``): the folder where it is submitted."""
    try:
        return {"folder": here()}
    except OSError:  # it was removed
        return {}


_KEYWORD = re.compile(r"([^\W\d]\w*|)(:?=)(.*)", re.DOTALL)
