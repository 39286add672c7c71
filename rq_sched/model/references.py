"""What stands among the arguments of a task for the result of another: a handle, or (``ResultOf``) its id alone.

Where it is packed it becomes an extension type of msgpack with the other task's id (``values.pack``); where the task
runs, that result (``values.unpack_arguments``). So it is signed with the arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rq_sched.errors import InvalidValue

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
Home = tuple[str, str]
"""The address of a Redis, and a namespace there."""


class Reference:
    """Base of what stands for the result of the task ``id``; ``home``: where that is; None: where it is used."""

    __slots__ = ()
    id: str

    @property
    def home(self) -> Home | None:
        return None


@dataclass(frozen=True, slots=True, repr=False)
class ResultOf(Reference):
    """The result of the task with this id.

    >>> ResultOf("prep")
    <result of prep>
    """

    id: str

    def __repr__(self) -> str:
        return f"<result of {self.id}>"


def references(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Reference]:
    """Those among these arguments, also in lists, tuples and values of dicts, in no order.

    >>> references([1, {"x": [ResultOf("prep"), "prep"]}], {})
    [<result of prep>]
    """
    if _PLAIN.issuperset(map(type, args)) and (not kwargs or _PLAIN.issuperset(map(type, kwargs.values()))):
        return ()
    found: list[Reference] = []
    seen: set[int] = set()  # what contains itself is refused where it is packed
    search: list[Iterable[Any]] = [args, kwargs.values()]
    while search:
        items = search.pop()
        if _PLAIN.issuperset(map(type, items)):
            continue
        for item in items:
            if isinstance(item, Reference):
                found.append(item)
            elif isinstance(item, (list, tuple, dict)) and id(item) not in seen:
                seen.add(id(item))
                search.append(item.values() if isinstance(item, dict) else item)
    return found


def check_home(found: Iterable[Reference], home: Home) -> None:
    """Whether these are tasks of this namespace.

    Raises:
        InvalidValue: one isn't.
    """
    for one in found:
        if one.home is not None and one.home != home:
            where = "of another Redis" if one.home[1] == home[1] else f"of namespace {one.home[1]}"
            raise InvalidValue(
                f"task {one.id}, whose result is an argument, is one {where}: a task can use results of its own "
                f"namespace ({home[1]}) only; wait for that result, and pass it"
            )
