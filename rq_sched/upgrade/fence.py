"""Functions of versions that don't look at the version of the data themselves: they learn to refuse.

Such a process, if it lives through an upgrade, would go on writing as it knows. What it calls are functions of the
server, named after their source (``link/functions.py``), so that only its version has them: each gets a check in front.
Who loads them anew, or calls scripts instead, isn't kept out by this.
"""

from __future__ import annotations

from rq_sched.link import Command, Op
from rq_sched.link.functions import KNOWS_VERSIONS

BEGIN = b"KEYS, ARGV = keys, args\n"
"""What the body of each function begins with."""
CHECK = rb"""local schema = redis.pcall('HGET', keys[1] .. 'settings', 'schema')
if type(schema) == 'string' and schema ~= '1' then
return redis.error_reply('RQS_OTHER_SCHEMA the data of this namespace were upgraded: install a newer rq-sched here')
end
"""


def fence() -> Op[int]:
    """Put the check in front of all functions that lack it; how many those were."""
    (libraries,) = yield [("FUNCTION", "LIST", "LIBRARYNAME", "rqs_*", "WITHCODE")]
    codes = [dict(zip(one[::2], one[1::2], strict=True))[b"library_code"] for one in libraries]
    loads: list[Command] = [
        ("FUNCTION", "LOAD", "REPLACE", code.replace(BEGIN, BEGIN + CHECK, 1))
        for code in codes
        if BEGIN in code and not (KNOWS_VERSIONS.encode() in code or CHECK in code)
    ]
    if loads:
        yield loads
    return len(loads)
