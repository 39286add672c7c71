"""What a task waits for: others, by their ids, and how they must end.

>>> parse_after("prep,clean:any", "after")
('prep', 'clean:any')
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from rq_sched.errors import InvalidValue
from rq_sched.model.given import given
from rq_sched.model.ids import check_id, known_id

MOST = 20_000
"""Tasks that one may wait for."""
EACH = ":each"
FEW = 8
"""So many stand in its record; more in a list of their own."""
KINDS = ("ok", "any", "failed", "result", "each")
"""How it must end: completed (which needn't be said); however; not completed; completed, and its result is used; of
an array for another one: each element completed, for the one with its index."""


class Dependent(Protocol):
    """What waits for others: a request."""

    task_id: str | None
    after: Sequence[str]


D = TypeVar("D", bound=Dependent)


def parse_after(value: object, name: str) -> tuple[str, ...]:
    """The tasks that one waits for, as ``ID`` or ``ID:KIND``, each once.

    Parameters:
        value: such texts, or handles; or one text with commas between them.

    Raises:
        InvalidValue: it is none such, names a task in two ways, or more than 20,000.
        InvalidId: one isn't the id of a task.
    """
    if isinstance(value, str):
        value = value.split(",") if value else ()
    if not isinstance(value, Iterable) or isinstance(value, (bytes, Mapping)):
        raise InvalidValue(f"{name} must be a list of ids, not {given(value)}")
    kinds: dict[str, str] = {}
    for number, item in enumerate(value):
        if number == MOST:
            raise InvalidValue(f"{name} names more than {MOST:,} tasks: wait for some in between")
        task_id, kind = _parted(getattr(item, "id", item), name)
        if kinds.setdefault(task_id, kind) != kind:
            raise InvalidValue(f"{name} names {task_id} twice, as {kinds[task_id]} and as {kind}")
    return tuple(task_id if kind == "ok" else f"{task_id}:{kind}" for task_id, kind in kinds.items())


def with_results(after: Sequence[str], task_ids: Iterable[str]) -> tuple[str, ...]:
    """The same, and the tasks whose results are used.

    Raises:
        InvalidValue: one of these is to end otherwise than completed, or they are too many.

    >>> with_results(("prep", "clean:any"), ["prep", "parts"])
    ('prep:result', 'clean:any', 'parts:result')
    """
    kinds = dict(_parted(one, "after") for one in after)
    for task_id in task_ids:
        kind = kinds.get(task_id)
        if kind not in (None, "ok", "result"):
            raise InvalidValue(f"after names {task_id} as {kind}, and its result is an argument: leave it out there")
        kinds[task_id] = "result"
    if len(kinds) > MOST:
        raise InvalidValue(f"a task waits for at most {MOST:,} others, this one for {len(kinds):,}")
    return tuple(task_id if kind == "ok" else f"{task_id}:{kind}" for task_id, kind in kinds.items())


def parse_each(value: object, name: str) -> str:
    """The array for whose elements those of another one wait, as its id.  ``value``: that, or a handle.

    Raises:
        InvalidValue, InvalidId: it is none.
    """
    array_id = getattr(value, "id", value)
    if isinstance(array_id, str) and "/" in array_id:
        raise InvalidValue(f"{name} must be the id of an array, not that of an element: {given(array_id)}")
    return check_id(array_id)


def with_each(after: Sequence[str], array_id: str, array: object) -> tuple[str, ...]:
    """What an array waits for, element by element.

    Raises:
        InvalidValue: it is no array, or waits for others, too.

    >>> with_each((), "sweep", "1-100")
    ('sweep:each',)
    """
    if array is None:
        raise InvalidValue(
            f"after_each {array_id}: element i waits for element i, so give the array its indexes: "
            f"array (--array FIRST-LAST), the same as those of {array_id}"
        )
    each = (f"{array_id}{EACH}",)
    if tuple(after) not in ((), each):
        raise InvalidValue(
            "what waits for an array element by element (after_each) can't wait for others, too: leave out after, and "
            "handles among the arguments"
        )
    return each


def each_of(awaits: str) -> str | None:
    """The array for whose elements those of one wait that waits for this, if it does.

    >>> each_of("sweep:each")
    'sweep'
    """
    return awaits.removesuffix(EACH) if awaits.endswith(EACH) else None


def not_of_these_indexes(array_id: str) -> str:
    """Why an array can't wait for the elements of this one."""
    return (
        f"{array_id} is no array with the same indexes, so there isn't one element for each to wait for; "
        f"`rq-sched status {array_id}` tells what it is"
    )


def uses_results(after: Iterable[str]) -> bool:
    """Whether one of these results is used."""
    return any(one.endswith(":result") for one in after)


def _parted(item: Any, name: str) -> tuple[str, str]:
    if not isinstance(item, str):
        raise InvalidValue(f"{name} must be a list of ids, not one with {given(item)}")
    task_id, colon, kind = item.partition(":")
    if colon and kind not in KINDS:
        raise InvalidValue(f"{name}: {given(item)} must be ID, ID:any or ID:failed")
    return known_id(task_id), kind or "ok"


def id_of(dependency: str) -> str:
    """The task that is waited for.

    >>> id_of("clean:any")
    'clean'
    """
    return dependency.partition(":")[0]


def in_order(requests: Sequence[D]) -> Sequence[D]:
    """The same with each behind those of them that it waits for; else in their order.

    Raises:
        InvalidValue: some wait for each other; the message names them.
    """
    if not any(request.after for request in requests):
        return requests
    by_id = {request.task_id: request for request in requests}
    done: dict[int, D] = {}
    for first in requests:
        path: dict[int, tuple[D, Any]] = {}  # those that are being looked at: each waits for the next one
        if id(first) not in done:
            path[id(first)] = first, iter(first.after)
        while path:
            key, (_, others) = next(reversed(path.items()))
            other = next((by_id[id_of(one)] for one in others if id_of(one) in by_id), None)
            if other is None:
                done[key] = path.pop(key)[0]
            elif id(other) in path:
                names = [str(one.task_id) for one, _ in path.values()]
                cycle = [*names[names.index(str(other.task_id)) :], other.task_id]
                raise InvalidValue(f"these tasks wait for each other: {_shown(cycle)}")
            elif id(other) not in done:
                path[id(other)] = other, iter(other.after)
    return list(done.values())


def _shown(names: Sequence[Any]) -> str:
    shown = list(map(str, names))
    return " -> ".join(shown if len(shown) <= 10 else [*shown[:5], "...", *shown[-4:]])
