"""What ``Client`` and ``AsyncClient`` have in common: a namespace at some Redis, and a link to it."""

from __future__ import annotations

import os
from typing import Generic, TypeVar

from rq_sched.client.flows import Flows
from rq_sched.errors import InvalidValue
from rq_sched.link.requests import Talk
from rq_sched.model.durability import SECONDS
from rq_sched.model.durations import Duration, parse_duration
from rq_sched.model.references import Home
from rq_sched.process.environment import durability_level, not_blank, resolve_namespace, resolve_url
from rq_sched.process.environment import signing_key as find_signing_key
from rq_sched.store import Store

L = TypeVar("L", bound=Talk)


class Connection(Generic[L]):
    """One namespace, over a link of one kind. Parameters: ``Client``."""

    def __init__(
        self,
        url: str | None = None,
        namespace: str | None = None,
        *,
        durability: str | None = None,
        durability_timeout: Duration = SECONDS,
        signing_key: str | None = None,
        signing_key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        level = durability_level(durability, parse_duration(durability_timeout, "durability_timeout"))
        if signing_key is not None and signing_key_file is not None:
            raise InvalidValue("signing_key and signing_key_file: give one of them")
        file = None if signing_key_file is None else os.fspath(signing_key_file)
        key = find_signing_key(file) if signing_key is None else not_blank(signing_key, "signing_key")
        store = Store(resolve_namespace(namespace), durability=level, signing_key=key)
        self._use(self._connect(resolve_url(url), store), Flows(store))

    def _connect(self, url: str, store: Store) -> L:
        """A link for these operations; it asks nothing of Redis before the first call."""
        raise NotImplementedError

    def _use(self, link: L, flows: Flows) -> None:
        self._link = link
        self._flows = flows
        self._store = flows.store
        flows.met = lambda: link.met
        flows.home = self.home

    @property
    def namespace(self) -> str:
        return self._store.keys.namespace

    @property
    def home(self) -> Home:
        """Where its tasks are: the address of Redis, and the namespace."""
        return self._link.url, self.namespace

    def __repr__(self) -> str:
        return f"{type(self).__name__}(namespace={self.namespace!r})"
