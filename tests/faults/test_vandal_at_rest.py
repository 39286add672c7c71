"""Whatever is changed while nothing moves, a repair leaves nothing to find, and a further one does nothing.

The quick form of ``test_vandal_shared.py``: no processes, a scene with something in every state instead.
``RQ_SCHED_SEEDS=2000`` plays so many.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from rq_sched.audit.mend import repair
from rq_sched.link import Command, Link
from rq_sched.store import Store
from rq_sched.store.keys import Keys
from tests.faults.scene import Scene, build, damaged, plainly, request
from tests.faults.test_vandal import SEEDS
from tests.faults.vandal.changes import Vandal

NOBODY = re.compile(rb"(?!)")
MOST = 6
"""Things that are changed in a scene."""


class AtRest:
    """The scene, as the vandal sees it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    @property
    def keys(self) -> Keys:
        return self._scene.store.keys

    def plainly(self, *commands: Command) -> list[Any]:
        return self._scene.link.run(plainly(*commands))


def furnished(link: Link, store: Store) -> Scene:
    scene = build(link, store)
    link.run(store.submit([request("s", cpu=2, array="0-3"), request("v", cpu=1, memory=10, preemptible=True)]))
    link.run(store.place())
    return scene


@damaged
def test_whatever_is_changed_a_repair_leaves_nothing_to_find(link: Link) -> None:
    changed: Counter[str] = Counter()
    for seed in range(SEEDS):
        scene = furnished(link, Store(f"rest{seed}"))
        story: list[str] = []
        vandal = Vandal(seed, AtRest(scene), story.append, shared=True, spared=NOBODY)
        for _ in range(1 + seed % MOST):
            vandal.act()
        vandal.expire()
        changed += vandal.count
        for _ in range(2):  # what was given up by the first may have left something for the second
            link.run(repair(scene.store.keys.namespace))
        assert scene.found() == {}, (seed, story)
        assert link.run(repair(scene.store.keys.namespace)) == [], (seed, story)
        (names,) = link.run(plainly(("KEYS", scene.store.keys.prefix + "*")))
        link.run(plainly(("UNLINK", *names)))
    assert all(changed[kind] > 0 for kind in ("field-odd", "field-gone", "entry-new", "entry-odd", "key-type")), changed
