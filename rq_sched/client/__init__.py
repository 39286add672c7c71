"""What programs use: ``Client``, ``AsyncClient``, handles, an executor, the decorator ``@task``.

What takes more than one step is a *flow* (``flows.py``): a generator that does no IO. ``Client`` carries out its
steps by blocking, ``AsyncClient`` by awaiting.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rq_sched.client.awaiting import AsyncClient as AsyncClient
    from rq_sched.client.blocking import Client as Client

_LAZY = {"AsyncClient": "rq_sched.client.awaiting", "Client": "rq_sched.client.blocking"}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value
