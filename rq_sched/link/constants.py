"""What Python knows and the scripts need: where a script says ``PY.NAME``, ``scripts.assemble`` puts in the number.

Each comes from the module that owns it, so that a limit stands in one place.
"""

from __future__ import annotations

from rq_sched.model import after, amounts, arrays, labels, orders, output, reading, resources, schedule, task, values
from rq_sched.model.schema import SCHEMA
from rq_sched.model.settings import SETTINGS

SIGNATURE_BYTES = 64
"""What a signature may add to a payload (``model/signing.py`` needs 18)."""

CONSTANTS: dict[str, int] = {
    "SCHEMA": SCHEMA,  # the version of the format of the data
    "EXACT": reading.MOST,  # whole numbers from there on aren't exact
    "SEQUENCE": arrays.SEQUENCE,  # hex digits of a sequence
    "SEQUENCES": arrays.SEQUENCES,  # so many sequences there are
    "MOST_ELEMENTS": arrays.LIMIT,
    "MOST_INDEX": arrays.MAX_INDEX,  # of an element
    "MOST_CPU": resources.MAX_CPU,
    "MOST_MEMORY": resources.MAX_MEMORY,
    "MEMORY_STEP": resources.MEMORY_STEP,  # indexes pack CPU × this + memory
    "ORDERS_KEPT": orders.ORDERS_KEPT,
    "KIND_STEP": resources.KIND_STEP,  # that of free nodes packs the number of kinds of resources × this + these
    "MOST_LABELS": labels.MAX_LABELS,
    "MOST_AMOUNTS": amounts.MAX_AMOUNTS,
    "MOST_AMOUNT": amounts.MAX_AMOUNT,  # of a resource, in thousandths
    "MOST_NAME_OF_AMOUNT": amounts.MAX_NAME,  # bytes
    "MOST_LIMIT": amounts.MAX_LIMIT,
    "MOST_PRIORITY": task.PRIORITY_LIMIT,
    "MOST_PARENTS": after.MOST,  # that one task waits for
    "MOST_PAYLOAD": values.MAX_PAYLOAD + SIGNATURE_BYTES,
    "INLINE": task.INLINE_LIMIT,  # bytes up to which a value stays in its record
    "TOLD": task.TOLD_LIMIT,  # bytes up to which a result comes with the news of its task's end
    "CRASH_LIMIT": task.DEFAULT_CRASH_LIMIT,
    "MOST_NAME": schedule.MOST_NAME,  # bytes of a schedule's name
    "OUTPUT_LIMIT": output.LIMIT,  # bytes of a task's output that are kept, where it doesn't ask for more
    "MOST_OUTPUT_LIMIT": output.MOST,
    "RESERVE_AFTER": int(SETTINGS["reserve_after"].default),
    "PREEMPT_AFTER": int(SETTINGS["preempt_after"].default),
    "GROW_AFTER": int(SETTINGS["grow_after"].default),
}
