"""``@task``: a function that can also be submitted.

The decorated function stays what it was: ``f(1)`` runs here and now, with its signature, and its options only say how
it is submitted. Workers know it by ``target.TASK_MARK`` and run what it wraps.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from rq_sched.errors import InvalidTarget, InvalidValue
from rq_sched.model.options import by_keyword
from rq_sched.model.target import TASK_MARK, Options, check_options, make_request, merge, name_of

if TYPE_CHECKING:
    from typing import Unpack

    from rq_sched.client.blocking.client import Client
    from rq_sched.client.blocking.handles import TaskHandle
    from rq_sched.model.task import TaskRequest

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class TaskFunction(Generic[P, R, T]):
    """What ``@task`` makes of a function: it takes ``P`` and returns ``R``; as a task its result is a ``T``."""

    __wrapped__: Callable[P, R]
    __qualname__: str

    def __init__(self, function: Callable[P, R], options: Options, client: Client | None) -> None:
        functools.update_wrapper(self, function)
        setattr(self, TASK_MARK, options)
        self._options = options
        self._client = client

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.__wrapped__(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.__module__}:{self.__qualname__}>"

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[T]:
        """Submit a call of the function, with its options, on its client or the default one.

        All arguments are the function's own; options are given with ``options(…)``. Errors: ``Client.submit``.
        """
        client = self._client or default_client()
        return client.submit(self.request(*args, **kwargs))

    def request(self, *args: P.args, **kwargs: P.kwargs) -> TaskRequest:
        """The request for a call, not yet submitted: for ``submit_many`` or an ``AsyncClient``.

        >>> client.submit_many(f.request(n) for n in range(1000))  # doctest: +SKIP
        """
        return make_request(self, args, kwargs, {})

    def options(self, *, client: Client | None = None, **options: Unpack[Options]) -> TaskFunction[P, R, T]:
        """The same function with other options; this one stays as it is.

        Parameters:
            client: the client to submit with.
            options: those of ``Client.submit``.

        >>> f.options(cpu=4, priority=1).submit(1)  # doctest: +SKIP
        """
        check_options(options)
        return TaskFunction(self.__wrapped__, merge(self._options, options), client or self._client)


class _Decorator(Protocol):
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> TaskFunction[P, Coroutine[Any, Any, T], T]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R, R]: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, T]], /) -> TaskFunction[P, Coroutine[Any, Any, T], T]: ...
@overload
def task(function: Callable[P, R], /) -> TaskFunction[P, R, R]: ...
@overload
def task(*, client: Client | None = None, **options: Unpack[Options]) -> _Decorator: ...
def task(function: Any = None, /, *, client: Client | None = None, **options: Unpack[Options]) -> Any:
    """Mark a function at the top level of a module as a task. It can still be called as before.

    Parameters:
        client: the client that ``submit`` uses; None: one made from the environment when it is first needed.
        options: those of ``Client.submit`` (``task_id`` excepted), for every call.

    Raises:
        InvalidTarget: a method, a nested function or a lambda: no worker could find it.
        InvalidValue: an option that doesn't exist.

    >>> @task(cpu=2, memory="2G", priority=10, retries=3)
    ... def word_count(text: str) -> int:
    ...     return len(text.split())
    >>> word_count("runs here and now")
    4
    >>> word_count.submit("runs on a node").result()  # doctest: +SKIP
    4
    """
    if "task_id" in by_keyword(options):
        raise InvalidValue("task_id can't be the same for every call: give it with f.options(task_id=…)")
    if function is None:
        return functools.partial(_mark, options, client)
    return _mark({}, client, function)


def _mark(options: Options, client: Client | None, function: Callable[..., Any]) -> TaskFunction[..., Any, Any]:
    _, name = name_of(function)
    if "." in name:
        raise InvalidTarget(f"{name} is a method, which a worker can't find by name: mark a function of a module")
    return TaskFunction(function, merge({}, options), client)


# -- the default client -----------------------------------------------------------------------------

_lock = threading.Lock()
_default: Client | None = None


def default_client() -> Client:
    """The client that ``f.submit()`` uses where none was named: made from the environment when first asked for."""
    global _default
    with _lock:
        if _default is None:
            from rq_sched.client.blocking.client import Client

            _default = Client()
        return _default


def set_default_client(client: Client | None) -> Client | None:
    """Let this be the default client (None: one made anew from the environment); returns the one before."""
    global _default
    with _lock:
        before, _default = _default, client
        return before
