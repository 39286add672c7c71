"""Orders as scripts give them (``_orders.lua``): a line, and behind that of a start the request as it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from rq_sched.model import output
from rq_sched.model.classes import need_of
from rq_sched.model.held import read_held
from rq_sched.model.orders import Garbled, Order, Reload, Resize, Start, Stop, Void
from rq_sched.model.reading import text, whole
from rq_sched.model.resources import MAX_CPU, MAX_MEMORY, Resources
from rq_sched.store.parts import Record, of_lines

# The start of a task whose request says nothing of what an attempt may have beside its need: most are such.
_PLAIN = re.compile(
    rb"(\d{1,15}) start ([^ \n]+) ([^ \n]+) (\d{1,15})\n"
    rb"class=([^\n]*)\nturn=[^\n]*\ndigest=[^\n]*\nat=[^\n]*\n(?:watch=[^\n]*\n)?(?:priority=[^\n]*\n)?run=([^\n]*)\nwith="
)


@dataclass(frozen=True, slots=True)
class Ring:
    """What a node's doorbell says."""

    number: int
    """Of the last order that there is."""
    incarnation: str = ""
    order: Order | None = None
    """That order, if it is the only new one; it is for this incarnation."""


def ring_of(message: bytes) -> Ring:
    """A message of a node's doorbell (``_ledger.lua``). One that can't be read is about no order.

    >>> ring_of(b"7")
    Ring(number=7, incarnation='', order=None)
    >>> ring_of(b"a0 8 stop 5f.1.7 t1 1500").order
    Stop(number=8, token='5f.1.7', task_id='t1', grace=1.5)
    """
    if message.isdigit():
        return Ring(whole(message))
    incarnation, _, raw = message.partition(b" ")
    order = order_of(raw)
    return Ring(order.number, text(incarnation), None if isinstance(order, Garbled) else order)


def order_of(raw: bytes) -> Order:
    """An order as ``_orders.lua`` gives it. One that can't be read is one that says so: those behind it are others'."""
    plain = _PLAIN.match(raw)
    try:
        return _read(raw) if plain is None else _read_plain(plain, raw[plain.end() :])
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        words = [str(word, "utf-8", "replace") for word in raw.partition(b"\n")[0].split(b" ")]
        number, _, token, task_id, *_ = (*words, "", "", "")
        return Garbled(whole(number), token, task_id, f"its order can't be read ({type(error).__name__}: {error})")


def _read_plain(plain: re.Match[bytes], arguments: bytes) -> Start:
    number, token, task_id, attempt, task_class, function = plain.groups()
    need, name, target = _need(task_class), task_id.decode(), function.decode()
    return Start(int(number), token.decode(), name, int(attempt), target, arguments, 0, need, need, None, "cpu")


def _read(raw: bytes) -> Order:
    line, _, request = raw.partition(b"\n")
    number, *words = line.split(b" ")
    if words[0] != b"start":
        return _other(int(number), *(word.decode() for word in words))
    _, token, task_id, attempt, *held = words
    start = _start(int(number), token.decode(), task_id.decode(), _within(attempt, 2**52), of_lines(request))
    if held:
        start.held = held[0].decode()
        read_held(start.held)  # so that what can't be read is found here
    return start


def _other(number: int, kind: str, token: str = "", task_id: str = "", amount: str = "") -> Order:
    """``amount``: the grace of a stop in ms, the allocation of a resize."""
    match kind:
        case "stop":
            return Stop(number, token, task_id, int(amount) / 1000)
        case "resize":
            return Resize(number, token, task_id, need_of(amount))
        case "reload":
            return Reload(number)
        case "void":
            return Void(number)
    raise ValueError(f"no kind of order: {kind!r}")


def _start(number: int, token: str, task_id: str, attempt: int, fields: Record) -> Start:
    need = _need(fields[b"class"])
    maximum = Resources(int(fields.get(b"max_cpu", need.cpu)), int(fields.get(b"max_memory", need.memory)))
    elastic = fields.get(b"released") or fields.get(b"elastic") or b"cpu"
    return Start(
        number=number,
        token=token,
        task_id=task_id,
        attempt=attempt,
        function=fields[b"run"].decode(),
        arguments=fields[b"with"],
        payload_bytes=_within(fields.get(b"payload", 0), 2**52),
        allocation=need,
        maximum=_possible(maximum),
        time_limit=_within(fields[b"time_limit"], 10**12) / 1000 if b"time_limit" in fields else None,
        elastic="off" if b"asked" in fields else elastic.decode(),
        uses=fields.get(b"uses") == b"1",
        log_limit=min(output.MOST, _within(fields.get(b"log_limit", output.LIMIT), 2**52)),
    )


@lru_cache(maxsize=1000)
def _need(task_class: bytes) -> Resources:
    """The need of a class: few classes make up most tasks."""
    return _possible(need_of(task_class.decode()))


def _possible(amount: Resources) -> Resources:
    if not (0 <= amount.cpu <= MAX_CPU and 1 <= amount.memory <= MAX_MEMORY):
        raise ValueError(f"{amount.cpu} CPU, {amount.memory} MB")
    return amount


def _within(text: bytes | int, most: int) -> int:
    number = int(text)
    if not 0 <= number <= most:
        raise ValueError(f"{number} isn't between 0 and {most}")
    return number
