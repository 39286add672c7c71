"""What an attempt holds of its node's resources, as its start order and its entry in the ledger say it:
``gpu=0*1000,2*1000;scratch=#5000000;@api=2`` (index, thousandths; or ``#`` and a sum; behind ``@``: limits)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from rq_sched.model.amounts import NAME_FORM
from rq_sched.model.asked import MOST, UNIT, units
from rq_sched.model.offers import INDEX

NOTHING: Mapping[str, Held] = MappingProxyType({})


class Held(NamedTuple):
    """What a task holds of a resource.

    ``amount``: how much, in units. ``indexes``: which ones, where it has indexes; of a share the one that it is of.
    """

    amount: float
    indexes: tuple[str, ...] = ()


def read_held(text: str) -> dict[str, Held]:
    """The resources of a start order or an entry of the ledger, without limits.

    Raises:
        ValueError: it is no such text.

    >>> read_held("gpu=0*1000,2*1000;scratch=#5000000;@api=2")["gpu"]
    Held(amount=2, indexes=('0', '2'))
    """
    found: dict[str, Held] = {}
    for part in filter(None, text.split(";")):
        if part.startswith("@"):
            continue
        name, _, held = part.partition("=")
        if not NAME_FORM.fullmatch(name) or name in found:
            raise ValueError(f"bad resource {part!r}")
        if held.startswith("#"):
            found[name] = Held(units(_thousandths(held[1:])))
            continue
        shares = [share.partition("*") for share in held.split(",")]
        if not all(INDEX.fullmatch(index) for index, _, _ in shares):
            raise ValueError(f"bad resource {part!r}")
        found[name] = Held(units(sum(_thousandths(amount) for _, _, amount in shares)), tuple(i for i, _, _ in shares))
    return found


def _thousandths(text: str) -> int:
    amount = int(text)
    if not 0 < amount <= MOST * UNIT:
        raise ValueError(f"{amount} thousandths")
    return amount


# -- what the task is told of it ------------------------------------------------------------------

GPU = "gpu"
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""Which cards the libraries of NVIDIA and AMD find."""
_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""NVIDIA's libraries number cards as its driver does."""


def variables(held: Mapping[str, Held]) -> dict[str, str]:
    """The variables of a task that holds this: its indexes, or an amount in units.

    >>> variables({"gpu": Held(2, ("0", "2")), "scratch": Held(5000)})["RQ_SCHED_RESOURCE_SCRATCH"]
    '5000'
    """
    found = {variable(name): ",".join(one.indexes) or f"{one.amount}" for name, one in held.items()}
    cards = held.get(GPU, Held(0)).indexes
    return found | ({**dict.fromkeys(_VISIBLE, ",".join(cards)), **_ORDER} if cards else {})


def variable(name: str) -> str:
    """
    >>> variable("gpu")
    'RQ_SCHED_RESOURCE_GPU'
    """
    return f"RQ_SCHED_RESOURCE_{name.upper().replace('-', '_')}"


def without_any(offered: Iterable[str]) -> dict[str, str]:
    """The variables of all tasks on a node that offers these, for those that hold none of them: they find no card."""
    return {**dict.fromkeys(_VISIBLE, ""), **_ORDER} if GPU in offered else {}
