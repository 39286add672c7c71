# Made from ../awaiting/limits.py by `python -m tools.twins`: change that one, and run it again.
"""Limits that hold across nodes: for licences, connections, requests to a service."""

from __future__ import annotations

from rq_sched.client.blocking.stepper import Stepper
from rq_sched.model.limits import LimitInfo


class LimitMethods(Stepper):
    """The methods of ``Client`` about limits."""

    def limits(self) -> list[LimitInfo]:
        """The limits, by name: how much may be in use at once, and how much is.

        >>> free = {one.name: one.limit - one.in_use for one in client.limits() if one.limit}  # doctest: +SKIP
        """
        return self._do(self._flows.limits())

    def set_limit(self, name: str, most: int | str | None) -> None:
        """Tasks that ask for it (``limits={"api": 2}``) have at most so much of it at once, in the whole namespace.

        Parameters:
            name: up to 32 of a-z, 0-9, ``_`` and ``-``, beginning with a letter.
            most: a whole number; with 0 nothing that asks for it starts. None, or ``"off"``: tasks that ask for it
                aren't limited any more. What runs goes on in any case.

        Raises:
            InvalidValue

        >>> client.set_limit("api", 20)  # doctest: +SKIP
        """
        self._do(self._flows.set_limit(name, most))
