"""From what a user hands over — a name or a callable, arguments, options — to a ``TaskRequest``.

A worker imports a function by its name, so a callable is sent as ``module:qualname``, and only if that name leads back
to the very same function. A lambda, a nested function, a method of an object or something of the running script has no
such name: it is refused here, where the mistake is, not later on a node.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from inspect import Parameter, signature
from types import MethodType
from typing import Any

from rq_sched.errors import InvalidTarget, InvalidValue, UsageError
from rq_sched.model.given import given
from rq_sched.model.options import NAMES, OPTIONS, by_keyword, near
from rq_sched.model.options import Options as Options
from rq_sched.model.task import TaskRequest, check_function, request_from_json

Target = str | Callable[..., Any] | TaskRequest
"""What can be submitted: a name, a function, or a request that says everything."""
MISSPELT = 0.8
"""How like an option, from 0 to 1, a keyword must be to be taken for one that is misspelt."""
TASK_MARK = "__rq_sched_task__"
"""The attribute of a function marked with ``@task``: its options. Workers know it by this, too."""


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse an option that doesn't exist.

    Raises:
        InvalidValue: names it, and the nearest one.
    """
    by_keyword(options)


def merge(options: Mapping[str, Any], more: Mapping[str, Any]) -> Options:
    """Both; ``more`` wins where it says something.  Raises: InvalidValue."""
    return {**by_keyword(options), **by_keyword(more)}


def make_request(
    target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> TaskRequest:
    """The request for one call of ``target``, checked. All ``kwargs`` are the function's.

    Raises:
        InvalidTarget: no worker could find that function.
        UsageError: an option or argument is out of its range.
    """
    given = by_keyword(options)
    if isinstance(target, TaskRequest):
        if args or kwargs or given:
            raise InvalidValue("a TaskRequest already says everything: give no arguments or options beside it")
        return target.check()
    marked: Mapping[str, Any] = getattr(target, TASK_MARK, None) or {}
    return TaskRequest(target_of(target), args, kwargs, **{**marked, **given}).check()


def short_form(
    target: Target, args: Sequence[Any], options: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> TaskRequest:
    """The request of ``submit(target, *args, **options, **kwargs)``, where both kinds of keywords stand side by side.

    Raises:
        InvalidValue: a keyword may be meant as the other kind.
        InvalidTarget, UsageError: as ``make_request``.
    """
    given = by_keyword(options)
    if given or kwargs:
        _check_keywords(target, given, kwargs)
    return make_request(target, args, kwargs, given)


def parted(keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of the short form: options, and the function's own.

    >>> parted({"cpu": 2, "x": 3})
    ({'cpu': 2}, {'x': 3})
    """
    options = {name: value for name, value in keywords.items() if name in OPTIONS}
    return options, {name: value for name, value in keywords.items() if name not in OPTIONS}


def not_its_own(target: Target, names: Sequence[str]) -> None:
    """Refuse a function that has parameters of these names: one wouldn't know whose they are.

    Raises:
        InvalidValue: says how to give them.
    """
    for parameter in _parameters(target) or ():
        if parameter.name in names:
            raise InvalidValue(
                f"{parameter.name} is meant for the schedule, and the function has a parameter of that name: give a "
                f"TaskRequest, whose args and kwargs are the function's"
            )


def _check_keywords(target: Target, options: Mapping[str, Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse keywords that may be meant as options, or as the function's."""
    known = _parameters(target)
    named = () if known is None else [p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    shown = target if isinstance(target, str) else getattr(target, "__qualname__", None) or repr(target)
    for name in options:
        if name in named:
            raise InvalidValue(
                f"{name} is an option of the task, and {shown} has a parameter of that name. Say which is meant: "
                f"client.options({name}=…).submit({shown}, …) for the option, "
                f"client.options().submit({shown}, …, {name}=…) for the parameter"
            )
    if known is not None and any(p.kind is p.VAR_KEYWORD for p in known):
        return  # it takes any
    for name in kwargs:
        option = NAMES.get(name) or NAMES.get(near(name, OPTIONS, MISSPELT) or "")
        if option is not None and name not in named:
            none = "" if known is None else f", and {shown} has no such parameter"
            raise InvalidValue(
                f"{name} looks like the option {option.keyword}{none}. For the option say {option.keyword}=…; if it is "
                f"an argument of the function: client.options(…).submit({shown}, …, {name}=…)"
            )


def _parameters(target: Target) -> Sequence[Parameter] | None:
    """The parameters of a callable; None where they aren't known: of a name, and of some that are written in C."""
    if isinstance(target, (str, TaskRequest)):
        return None
    try:
        return _signature(target)
    except (ValueError, TypeError):
        return None


@lru_cache(maxsize=1000)
def _signature(function: Callable[..., Any]) -> Sequence[Parameter]:
    """Remembered: who submits many tasks mostly names few functions, and looking takes longer than all else here."""
    return tuple(signature(function).parameters.values())


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


def checked(
    batch: Iterable[TaskRequest | Mapping[str, Any]], also: Callable[[TaskRequest], None] = lambda _: None
) -> tuple[list[TaskRequest], UsageError | None]:
    """The requests up to the first bad one, and what is wrong with that. ``also``: raises where one isn't good."""
    good: list[TaskRequest] = []
    try:
        for item in batch:
            if isinstance(item, TaskRequest):
                request = item.check()
            elif isinstance(item, Mapping):
                request = request_from_json(dict(item))
            else:
                raise InvalidValue(f"it must be a TaskRequest or a dict, not {given(item)}")
            also(request)
            good.append(request)
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
