"""What programs use: ``Client``, ``AsyncClient``, handles, an executor, the decorator ``@task``.

All that a client does is a *flow* (``flows/``): a generator that does no IO. ``Client`` carries out its steps by
blocking (``blocking/``), ``AsyncClient`` by awaiting (``awaiting/``). These two are twins: ``blocking/`` is made from
``awaiting/`` by ``python -m tools.twins``.
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
