"""Which graphics cards this machine has: what ``worker --resource gpu=auto`` offers."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from rq_sched.errors import InvalidResources
from rq_sched.model.offers import check_indexes

AUTO = "auto"
SAID = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""Where one is set, these cards and no others are meant."""
DRIVER = Path("/proc/driver/nvidia/gpus")
_LISTED = re.compile(r"^GPU (\d+):", re.MULTILINE)
_SECONDS = 20.0


def with_cards(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> list[str]:
    """The words for ``parse_offers``, with the cards of this machine for ``gpu=auto``.

    Raises:
        InvalidResources: it has none, or another resource is to be found.
    """
    return [_with_cards(word, environment) for word in words]


def _with_cards(word: str, environment: Mapping[str, str]) -> str:
    name, _, text = word.partition("=")
    if text.strip() != AUTO:
        return word
    if name != "gpu":
        raise InvalidResources(f"--resource {name}: only gpu=auto is known; say how much it is, such as {name}=4")
    return f"gpu=[{','.join(cards(environment))}]"


def cards(environment: Mapping[str, str] = os.environ, driver: Path = DRIVER) -> tuple[str, ...]:
    """The cards of this machine: their indexes, or the names that a variable says.  Raises: InvalidResources: none."""
    for variable in SAID:
        if (said := environment.get(variable)) is not None:
            found = _said(said)
            if not found:
                raise InvalidResources(f"--resource gpu=auto: {variable} is {said!r}: it names no card; unset it")
            return check_indexes(found, f"--resource gpu=auto: {variable}")
    number = _listed() or (len(list(driver.iterdir())) if driver.is_dir() else 0)
    if not number:
        raise InvalidResources(
            "--resource gpu=auto: no card is found: neither CUDA_VISIBLE_DEVICES nor ROCR_VISIBLE_DEVICES is set, and "
            f"neither nvidia-smi nor {driver} lists one; say how many there are, such as --resource gpu=4"
        )
    return tuple(map(str, range(number)))


def _said(text: str) -> list[str]:
    """The cards that such a variable names: those before the first that is none, as the libraries take them."""
    found: list[str] = []
    for word in map(str.strip, text.split(",")):
        if not word or word.startswith("-"):
            break
        found.append(word)
    return found


def _listed() -> int:
    """How many cards NVIDIA's driver lists; 0 where it isn't there."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return len(_LISTED.findall(listed.stdout))
