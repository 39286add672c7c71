"""Why a value can't travel as msgpack, and what to send instead: looked for only when ``values.pack`` has failed.

What may be in a value, and as what it comes back, is in ``docs/values.md``.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rq_sched.model.references import Reference

PLAIN = "use None, bool, int, float, str, bytes, list and dict"
DEEPEST = 500
"""Levels that a search goes down: msgpack takes some more, or a few less."""
_CONTAINERS = (dict, list, tuple)
SHOWN = 60
"""Characters of a place that a message shows: its end."""
# By the names of its class and of those that it derives from, as modules needn't be imported to name what is theirs.
_REMEDIES = {
    "datetime.datetime": "send it as text, with .isoformat()",
    "datetime.date": "send it as text, with .isoformat()",
    "datetime.time": "send it as text, with .isoformat()",
    "datetime.timedelta": "send its seconds, with .total_seconds()",
    "decimal.Decimal": "send it as text, with str(…)",
    "fractions.Fraction": "send it as text, with str(…)",
    "uuid.UUID": "send it as text, with str(…)",
    "pathlib.PurePath": "send it as text, with str(…)",
    "enum.Enum": "send its .value",
    "numpy.generic": "send it as a plain number, with .item()",
    "numpy.ndarray": "send it as a list, with .tolist(); or store it in a file and send its name",
    "pydantic.main.BaseModel": "send it as a dict, with .model_dump()",
    "pandas.core.frame.DataFrame": "store it in a file and send its name; a small one: .to_dict('list')",
    "pandas.core.series.Series": "send it as a list, with .tolist()",
    "builtins.complex": "send it as [z.real, z.imag]",
    "builtins.BaseException": "send it as text, with repr(…)",
    "builtins.coroutine": "await it first",
}


def why_unsendable(value: Any, parts: Sequence[str] = ()) -> str:
    """What can't be sent, where in ``value`` it is, and the remedy; empty if nothing was found.

    Parameters:
        parts: the names of what is in ``value``, if it is a list that its sender doesn't know of.
    """
    if fault := _fault(value):
        return f"it is {fault}"
    above = [value]  # the containers that we are in, from the outermost
    search = [iter(zip(parts, value, strict=True)) if parts else _parts(value)]
    places = ["" if parts else "it"]
    while search:
        place, part = next(search[-1], (None, None))
        if place is None:
            del search[-1], places[-1], above[-1]
        elif parts and isinstance(part, Reference):
            continue
        elif fault := _fault(part):
            return f"{_shown(''.join((*places, place)))} is {fault}"
        elif any(part is container for container in above):
            return f"{_shown(''.join((*places, place)))} is what it is part of: send each part once, and name the parts"
        elif isinstance(part, _CONTAINERS):
            if len(search) == DEEPEST:
                return f"it is nested more than {DEEPEST} levels deep: send a flat list, or text made by json.dumps"
            above.append(part)
            search.append(_parts(part))
            places.append(place)
    return ""


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What is in a value, each with its place there."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"[{_short(key)}]", item
    elif isinstance(value, _CONTAINERS):
        for number, item in enumerate(value):
            yield f"[{number}]", item


def _fault(value: Any) -> str:
    """What is wrong with a value, leaving out what is in it; empty if nothing is."""
    if value is None or isinstance(value, (bool, float, bytes, bytearray, memoryview)):
        return ""
    if isinstance(value, int):
        return "" if -(2**63) <= value < 2**64 else "an int beyond 64 bits: send it as text, with str(…)"
    if isinstance(value, str):
        if _encodable(value):
            return ""
        text = _short(value)
        return f"text that has no UTF-8 ({text}): send bytes; with os.fsencode(…) if it is the name of a file"
    if isinstance(value, dict):
        return next(filter(None, map(_fault_of_key, value)), "")
    if isinstance(value, _CONTAINERS):
        return ""
    return f"{_a(type(value))}: {_remedy(value)}"


def _fault_of_key(key: Any) -> str:
    if isinstance(key, tuple):
        return (
            f"a dict with a tuple as a key ({_short(key)}), which would come back as a list: "
            f"join its parts to a text, or send pairs, with list(….items())"
        )
    fault = _fault(key)
    return fault and f"a dict with a key that can't be sent: {_short(key)} is {fault}"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(place: str) -> str:
    return place if len(place) <= SHOWN else f"…{place[-SHOWN:]}"


def _short(value: Any) -> str:
    """A value in a few characters, whatever it is."""
    return reprlib.repr(value).encode("ascii", "backslashreplace").decode()


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _a(kind: type) -> str:
    name = _name(kind).removeprefix("builtins.")
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _remedy(value: Any) -> str:
    """What to send instead of something that isn't plain data."""
    for kind in type(value).__mro__:
        if found := _REMEDIES.get(_name(kind)):
            return found
    if isinstance(value, Reference):
        return "send its .id (only as an argument, or in lists and dicts there, it stands for its result)"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "send it as a dict, with dataclasses.asdict(…)"
    if isinstance(value, Mapping):
        return "send it as a dict, with dict(…)"
    if isinstance(value, type) or callable(value):
        return "send its name as text, and import it where it is used"
    if hasattr(type(value), "__iter__"):  # also what can be iterated over only once
        return "send it as a list, with list(…)"
    return f"send what it consists of: {PLAIN}"
