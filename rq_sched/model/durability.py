"""How safe a task must be before ``submit`` answers.

=============== ========================================= =============================================================
level           ``submit`` answers when                   what may be lost all the same
=============== ========================================= =============================================================
``memory``      the server has it                         when the server is killed, the last second or so (with
                                                          ``appendfsync everysec``); in a failover, what no replica has
``aof``         the server has it on its disk             in a failover, what no replica has
``replicated``  a replica has it too (``replicated:N``:   in a failover, what the replica that is promoted hasn't: with
                N of them), in memory                     N = all of them nothing
=============== ========================================= =============================================================

``aof`` uses WAITAOF (Redis ≥ 7.2, Valkey); an older server must have ``appendfsync always``, which answers only when
the disk has it. What comes after the submit (starts, ends) isn't waited for: of a run that was lost a new one begins.
"""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = ("memory", "aof", "replicated")
SECONDS = 5.0
"""Seconds that a level may take, unless said otherwise."""


@dataclass(frozen=True, slots=True)
class Durability:
    """A level. ``replicas``: how many must have it; ``seconds``: how long that may take."""

    level: str = "memory"
    replicas: int = 0
    seconds: float = SECONDS

    @property
    def waits(self) -> bool:
        return self.level != "memory"

    def __str__(self) -> str:
        return f"{self.level}:{self.replicas}" if self.replicas else self.level


MEMORY = Durability()
