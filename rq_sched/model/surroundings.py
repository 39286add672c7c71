"""Where a task runs and what it finds there: its folder, its environment, its standard streams.

What a request says of it travels inside the packed arguments, as a third element after args and kwargs: so it is signed
with them, no script knows of it, and tasks without pay nothing. Some of it are *hints*, which a node may leave aside:
they don't belong to what is asked for, so the same request with other hints is the same request.

==========  =====================================================================================================
``chdir``   the folder
``env``     variables, name → text
``stdin``   a file on the node (text), or the content itself (bytes)
``output``  the file for standard output, with ``%t`` and the like (``fill``)
``error``   the same for standard error
``folder``  a hint: where a command was submitted. It runs there, if its node allows that folder
``apart``   a hint: the log is to tell standard error from standard output; bytes a second that a command may write
            there
==========  =====================================================================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from rq_sched.errors import InvalidValue
from rq_sched.model.arrays import element_of
from rq_sched.model.given import given

GIVEN = {"chdir": "chdir", "env": "env", "stdin": "stdin", "output": "output_path", "error": "error_path"}
"""What is asked for → the field of the request."""
NOWHERE = "/dev/null"
"""A file that every node allows."""
ANY_FOLDER = "*"
MOST_PATH = 4096
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CODE = re.compile(r"%(.?)", re.DOTALL)


def parse_path(value: object, name: str) -> str:
    """The name of a file or folder.

    Raises:
        InvalidValue: it can't be one.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or not path or len(path) > MOST_PATH or not path.isprintable():
        raise InvalidValue(f"{name} must be a path, text that can be printed, not {given(value)}")
    return path


def parse_file(value: object, name: str) -> str:
    """The name of a file for output, with the codes of ``fill``.  Raises: InvalidValue."""
    path = parse_path(value, name)
    for code in _CODE.findall(path):
        if code not in ("t", "a", "i", "n", "%"):
            raise InvalidValue(
                f"{name}: %{code} in {given(path)} means nothing: write %t for the task's id, %a for its attempt, "
                "%i for its index in an array, %n for its node, %% for a percent sign"
            )
    return path


def parse_stdin(value: object, name: str) -> str | bytes:
    """The name of a file, or what is to be read.  Raises: InvalidValue."""
    return bytes(value) if isinstance(value, (bytes, bytearray)) else parse_path(value, name)


def parse_env(value: object, name: str) -> dict[str, str]:
    """Variables, sorted by name: of a mapping, or of words ``NAME=TEXT``, or ``NAME`` for what it is here.

    Raises:
        InvalidValue: it is neither, or a name or a text can't be one.

    >>> parse_env(["B=2", "A=1=1"], "env")
    {'A': '1=1', 'B': '2'}
    """
    found: dict[Any, Any] = {}
    if isinstance(value, Mapping):
        found.update(value)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        found.update(_variable(word, name) for word in value)
    else:
        raise InvalidValue(f"{name} must be names with texts, such as TZ=UTC, not {given(value)}")
    for variable, text in found.items():
        if not isinstance(variable, str) or not _VARIABLE.fullmatch(variable):
            raise InvalidValue(f"{name}: {given(variable)} can't be a variable's name: write letters, digits and _")
        if not isinstance(text, str) or "\0" in text:
            raise InvalidValue(f"{name}: {variable} must be text without null characters, not {given(text)}")
    return dict(sorted(found.items()))


def _variable(word: object, name: str) -> tuple[str, str]:
    """Name and text of a word.  Raises: InvalidValue."""
    if not isinstance(word, str):
        raise InvalidValue(f"{name} must be words such as TZ=UTC, not {given(word)}")
    variable, is_set, text = word.partition("=")
    if is_set:
        return variable, text
    here = os.environ.get(variable)
    if here is None:
        raise InvalidValue(f"{name}: {given(variable)} isn't set here: write NAME=TEXT")
    return variable, here


def check_file(path: str, name: str, array: object) -> None:
    """Whether each element of an array writes into a file of its own, and only elements have an index.

    Raises:
        InvalidValue
    """
    codes = _CODE.findall(path)
    if array is not None and path != NOWHERE and not {"t", "i"} & {*codes}:
        raise InvalidValue(f"{name}: all elements of the array would write into {given(path)}: put %i into it")
    if array is None and "i" in codes:
        raise InvalidValue(f"{name}: %i in {given(path)} is the index of an array's element, and this is no array")


def fill(path: str, task_id: str, attempt: int, node_id: str) -> str:
    """The name of a file, with what stands for its codes. Nothing of that leads up: ids have no ``..``.

    >>> fill("out/%t.%a.txt", "sweep/7", 2, "n1")
    'out/sweep/7.2.txt'
    """
    element = element_of(task_id)
    index = "" if element is None else str(element[1])
    codes = {"t": task_id, "a": str(attempt), "i": index, "n": node_id, "%": "%"}
    return _CODE.sub(lambda code: codes.get(code[1], code[0]), path)


def is_below(path: str, pattern: str) -> bool:
    """Whether a full path lies in a folder of this pattern (``worker/reach.py``), or below it.

    >>> is_below("/home/ada/jobs/1", "/home/*/jobs"), is_below("/home/ada/x/jobs", "/home/*/jobs")
    (True, False)
    """
    names, allowed = ([name for name in one.split("/") if name] for one in (path, pattern))
    return pattern == ANY_FOLDER or (len(names) >= len(allowed) and all(map(fnmatchcase, names, allowed)))


def asked_for(request: object) -> dict[str, Any]:
    """What a ``TaskRequest`` says, as it travels; empty: nothing."""
    return {name: value for name, field in GIVEN.items() if (value := getattr(request, field)) is not None}


def surroundings_in(behind: Sequence[Any]) -> Mapping[str, Any]:
    """What stands behind args and kwargs; a signature may stand behind it, or in its place: bytes.

    >>> surroundings_in([{"chdir": "/tmp"}, b"signature"])
    {'chdir': '/tmp'}
    """
    return behind[0] if behind and isinstance(behind[0], dict) else {}
