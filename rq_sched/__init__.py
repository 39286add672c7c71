"""rq-sched: a distributed task scheduler that knows about CPU and memory, with all its state in Redis.

>>> from rq_sched import Client
>>> with Client() as client:  # doctest: +SKIP
...     client.submit("math:sqrt", 2.0, cpu=1, memory=64).result(timeout=5)
1.4142135623730951

What needs Redis is imported when it is first asked for: a module that only marks its functions with ``@task`` stays
quick to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rq_sched import errors as errors
from rq_sched.client.decorator import task as task  # after this the name is the function, not the module rq_sched.task
from rq_sched.model.explanation import Explanation as Explanation
from rq_sched.model.namespace import NamespaceInfo as NamespaceInfo
from rq_sched.model.states import CancelOutcome as CancelOutcome
from rq_sched.model.states import State as State
from rq_sched.model.task import TaskInfo as TaskInfo
from rq_sched.model.task import TaskRequest as TaskRequest

if TYPE_CHECKING:
    from rq_sched.client.awaiting import AsyncClient as AsyncClient
    from rq_sched.client.awaiting import AsyncTaskHandle as AsyncTaskHandle
    from rq_sched.client.awaiting import AsyncTaskHandles as AsyncTaskHandles
    from rq_sched.client.blocking import Client as Client
    from rq_sched.client.blocking import TaskHandle as TaskHandle
    from rq_sched.client.blocking import TaskHandles as TaskHandles
    from rq_sched.context import current_task as current_task

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncTaskHandle",
    "AsyncTaskHandles",
    "CancelOutcome",
    "Client",
    "Explanation",
    "NamespaceInfo",
    "State",
    "TaskHandle",
    "TaskHandles",
    "TaskInfo",
    "TaskRequest",
    "__version__",
    "current_task",
    "errors",
    "task",
]

_LAZY = {
    "AsyncClient": "rq_sched.client.awaiting",
    "AsyncTaskHandle": "rq_sched.client.awaiting",
    "AsyncTaskHandles": "rq_sched.client.awaiting",
    "Client": "rq_sched.client.blocking",
    "TaskHandle": "rq_sched.client.blocking",
    "TaskHandles": "rq_sched.client.blocking",
    "current_task": "rq_sched.context",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
