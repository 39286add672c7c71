"""Redis loses its last writes, as a replica does that is promoted before it has got them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Ask = Callable[..., list[Any]]
"""Sends commands, and gives their replies."""
TAKE = """
local all = {}
for _, name in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  all[#all + 1] = name
  all[#all + 1] = math.max(0, redis.call('PTTL', name))
  all[#all + 1] = redis.call('DUMP', name)
end
return all
"""
BRING_BACK = """
for _, name in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do redis.call('DEL', name) end
for i = 2, #ARGV, 3 do redis.call('RESTORE', ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A namespace as it was.

    Parameters:
        prefix: of all its keys.
        dumps: name, time to live in ms (0: none), content, of one key after the other.
    """

    prefix: str
    dumps: list[Any]

    @classmethod
    def take(cls, ask: Ask, prefix: str) -> Snapshot:
        """As it is now."""
        return cls(prefix, ask(("EVAL", TAKE, 0, prefix))[0])

    def bring_back(self, ask: Ask) -> None:
        """Everything that was written since is lost."""
        ask(("EVAL", BRING_BACK, 0, self.prefix, *self.dumps))
