"""From what a user hands over — a name or a callable, arguments, options — to a ``TaskRequest``.

A worker imports a function by its name, so a callable is sent as ``module:qualname``, and only if that name leads back
to the very same function. A lambda, a nested function, a method of an object or something of the running script has no
such name: it is refused here, where the mistake is, not later on a node.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MethodType
from typing import Any, TypedDict

from rq_sched.errors import InvalidTarget, InvalidValue, UsageError
from rq_sched.model.task import TaskRequest, check_function, request_from_json

Target = str | Callable[..., Any] | TaskRequest
"""What can be submitted: a name, a function, or a request that says everything."""
TASK_MARK = "__rq_sched_task__"
"""The attribute of a function marked with ``@task``: its options. Workers know it by this, too."""


class Options(TypedDict, total=False):
    """What may be said of a task when it is submitted, besides its function and arguments.

    Cores, MB (or text such as ``"2G"``) and seconds. What is left out, or None, is as the function's ``@task`` says,
    and else the default.
    """

    cpu: int | None  # cores it needs (1)
    memory: int | str | None  # memory it needs (256 MB)
    max_cpu: int | None  # cores up to which it may grow (what it needs)
    max_memory: int | str | None  # memory up to which it may grow (what it needs)
    require: Sequence[str] | None  # labels that its node must carry (none)
    array: str | range | None  # FIRST-LAST or a range: run it once for each of these indexes (once)
    priority: int | None  # higher first (0)
    task_id: str | None  # generated
    retries: int | None  # failures that are tried again (0)
    crash_limit: int | None  # deaths of its process or node before it fails as poison (3)
    time_limit: float | None  # seconds a run may take (no limit)
    delay: float | None  # seconds before it may be placed (0)
    elastic: str | None  # off, cpu or all: what others may use while it doesn't (cpu)
    preemptible: bool | None  # whether a task of higher priority may stop it (False)


_FIELDS = {
    "cpu": "cpu_needed",
    "memory": "memory_needed",
    "max_cpu": "max_cpu_needed",
    "max_memory": "max_memory_needed",
}
_KNOWN = Options.__optional_keys__


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse an option that doesn't exist.

    Raises:
        InvalidValue: names it, and those that there are.
    """
    for name in options:
        if name not in _KNOWN:
            raise InvalidValue(f"unknown option {name!r}; known are {', '.join(sorted(_KNOWN))}")


def merge(options: Options, more: Options) -> Options:
    """Both; ``more`` wins where it says something."""
    return {**options, **_said(more)}


def _said(options: Options) -> Options:
    return {name: value for name, value in options.items() if value is not None}  # type: ignore[return-value]


def make_request(target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options) -> TaskRequest:
    """The request for one call of ``target``, checked.

    Raises:
        InvalidTarget: no worker could find that function.
        UsageError: an option or argument is out of its range.
    """
    if isinstance(target, TaskRequest):
        if args or kwargs or _said(options):
            raise InvalidValue("a TaskRequest already says everything: give no arguments or options beside it")
        return target.check()
    function = target_of(target)
    marked: Options | None = getattr(target, TASK_MARK, None)
    given = merge(marked or {}, options)
    return TaskRequest(function, args, kwargs, **{_FIELDS.get(name, name): v for name, v in given.items()}).check()  # type: ignore[arg-type]


def request_of(target: Target, args: Sequence[Any], keywords: Mapping[str, Any]) -> TaskRequest:
    """The request of ``submit(target, *args, **keywords)``: the names of options are options, others the function's.

    >>> request_of("m:f", [1], {"cpu": 2, "x": 3}).kwargs
    {'x': 3}
    """
    options: Any = {name: value for name, value in keywords.items() if name in _KNOWN}
    return make_request(target, args, {n: v for n, v in keywords.items() if n not in _KNOWN}, options)


def target_of(target: str | Callable[..., Any]) -> str:
    """The name under which a worker finds a function: ``module:qualname``.

    Raises:
        InvalidTarget: there is no such name; the message says why, and what to do.

    >>> import json
    >>> target_of(json.dumps)
    'json:dumps'
    """
    if isinstance(target, str):
        return check_function(target)
    module, name = name_of(target)
    if module == "__main__":
        raise InvalidTarget(
            f"{name} is of the running script, which a worker can't import: "
            f"move it to a module (say, tasks.py), import it from there, and submit that"
        )
    loaded = sys.modules.get(module)
    if loaded is not None and not _same(_walk(loaded, name.split(".")), target):
        raise InvalidTarget(
            f"{module}:{name} isn't the function that was given, and a worker would look for that name "
            f"(was it replaced or deleted, or wrapped by a decorator without functools.wraps?)"
        )
    return check_function(f"{module}:{name}")


def name_of(target: object) -> tuple[str, str]:
    """Module and qualified name of a function at the top level of a module (or a static one of a class there).

    Raises:
        InvalidTarget: it isn't one.
    """
    if isinstance(target, partial):
        raise _refused("a functools.partial", target, "submit its function with all arguments")
    if isinstance(target, MethodType) and not isinstance(target.__self__, type):
        raise _refused("a method of an object", target, "submit a function that makes or loads the object by itself")
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not callable(target) or not isinstance(module, str) or not isinstance(name, str):
        raise _refused("not a function", target, "submit one that is defined at the top level of a module")
    if "<lambda>" in name:
        raise _refused("a lambda", target, "define it with def at the top level of a module")
    if "<locals>" in name:
        raise _refused("defined inside another function", target, "move it to the top level of its module")
    return module, name


def _refused(what: str, target: object, instead: str) -> InvalidTarget:
    shown = getattr(target, "__qualname__", None) or repr(target)
    return InvalidTarget(f"{shown} is {what}, which a worker can't find by name: {instead}")


def _walk(found: object, names: Iterable[str]) -> object:
    for name in names:
        found = getattr(found, name, None)
    return found


def _same(found: object, target: object) -> bool:
    """Whether a worker that looks up the name gets this function; either may be marked with ``@task``."""
    return _bare(found) == _bare(target)


def _bare(function: object) -> object:
    return getattr(function, "__wrapped__", function) if hasattr(function, TASK_MARK) else function


def checked(batch: Iterable[TaskRequest | Mapping[str, Any]]) -> tuple[list[TaskRequest], UsageError | None]:
    """The requests up to the first bad one, and what is wrong with that."""
    good: list[TaskRequest] = []
    try:
        for item in batch:
            if isinstance(item, TaskRequest):
                good.append(item.check())
            elif isinstance(item, Mapping):
                good.append(request_from_json(dict(item)))
            else:
                raise InvalidValue(f"it must be a TaskRequest or a dict, not {item!r:.80}")
    except UsageError as error:
        return good, error
    return good, None


def packable(requests: Iterable[TaskRequest]) -> tuple[list[TaskRequest], UsageError | None]:
    """The requests up to the first whose arguments can't be sent, and why not."""
    good: list[TaskRequest] = []
    try:
        for request in requests:
            request.pack_arguments()
            good.append(request)
    except UsageError as error:
        return good, error
    return good, None
