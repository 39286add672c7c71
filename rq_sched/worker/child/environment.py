"""The environment of a child: what its worker was started with, and what each task is told in it.

``os.environ[...] = value`` leaks: the C library keeps every text that was ever set, about 100 bytes for each new one.
So the array that C's ``environ`` points to is ours, and what changes from task to task stands in buffers that are
written in place. Nobody frees the texts that were there before: writing the array's pointers back restores all that a
task has changed, in Python or in C. ``os.environ``, C's ``getenv`` and new processes see the same.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Mapping
from typing import Any

from rq_sched.model.resources import Resources

ROOM = 256
"""Bytes that a value has room for: ids are the longest."""
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Libraries that would else start a thread for each core of the machine."""
TASK_ID, ATTEMPT, CPUS, MEMORY = "RQ_SCHED_TASK_ID", "RQ_SCHED_ATTEMPT", "RQ_SCHED_CPUS", "RQ_SCHED_MEMORY_MB"
INDEX = "RQ_SCHED_ARRAY_INDEX"
"""Only elements of arrays have it. It stands last in the array of pointers, where it can be left out."""
NAMES = (TASK_ID, ATTEMPT, CPUS, MEMORY, *THREADS, INDEX)
_POINTER = struct.Struct("@P")


class Environment:
    """The environment of this process, from now on ours."""

    def __init__(self) -> None:
        self._environ = os.environ
        self._bytes = os.environb
        self._data: dict[bytes, bytes] = getattr(os.environ, "_data")  # noqa: B009  # no public way leaks nothing
        self._saved = {name: value for name, value in self._data.items() if name.decode("latin-1") not in NAMES}
        self._keys = {name: name.encode() for name in NAMES}
        self._buffers = {name: bytearray(key + b"=" + bytes(ROOM)) for name, key in self._keys.items()}
        self._attempt = 0
        self._indexed = False
        self._tzname = time.tzname
        self._more: list[bytearray] = []  # what C's environment points to while a task has more
        self._more_array = bytearray()
        self._c = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ")
        pointers = [*_others(self._c.value), *map(_address, self._buffers.values()), 0]
        pointers[-2] = 0
        self._array = bytearray(b"".join(map(_POINTER.pack, pointers)))
        self._pristine = bytes(self._array)
        self._begins = _address(self._array)
        self._write_back()

    def tell_task(self, task_id: str, attempt: int) -> None:
        """Which task runs. Only an element finds ``RQ_SCHED_ARRAY_INDEX``."""
        self._tell(TASK_ID, task_id)
        if attempt != self._attempt:
            self._attempt = attempt
            self._tell(ATTEMPT, str(attempt))
        slash = task_id.find("/")
        if slash >= 0:
            self._tell(INDEX, task_id[slash + 1 :])
        if self._indexed is not (slash >= 0):
            self._show_index(slash >= 0)

    def tell_more(self, variables: Mapping[str, str]) -> None:
        """Variables of one task, beside those that it was told already: until ``restore``."""
        texts = {os.fsencode(name): os.fsencode(text) for name, text in variables.items()}
        more = [bytearray(name + b"=" + text + b"\0") for name, text in texts.items()]
        kept = [at for at in self._texts() if ctypes.string_at(at).partition(b"=")[0] not in texts]
        self._more_array = bytearray(b"".join(map(_POINTER.pack, [*kept, *map(_address, more), 0])))
        self._more += more
        self._data.update(texts)
        self._c.value = _address(self._more_array)
        time.tzset()

    def _texts(self) -> list[int]:
        """Where the texts of C's environment are."""
        pointers = [pointer for (pointer,) in _POINTER.iter_unpack(self._more_array or self._pristine)]
        return pointers[: pointers.index(0)]

    def tell_size(self, allocation: Resources) -> None:
        """What it has."""
        self._tell(MEMORY, str(allocation.memory))
        self._tell(CPUS, str(allocation.cpu))
        for name in THREADS:
            self._tell(name, str(max(1, allocation.cpu)))

    def _tell(self, name: str, value: str) -> None:
        key, text = self._keys[name], value.encode()
        begin = len(key) + 1
        self._buffers[name][begin : begin + len(text) + 1] = text + b"\0"
        self._data[key] = self._saved[key] = text

    def _show_index(self, shown: bool) -> None:
        self._indexed = shown
        if not shown:
            del self._data[self._keys[INDEX]], self._saved[self._keys[INDEX]]
        address = _address(self._buffers[INDEX]) if shown else 0
        _POINTER.pack_into(self._array, len(self._array) - 2 * _POINTER.size, address)
        self._pristine = bytes(self._array)

    def restore(self) -> None:
        """As it was before the task; and the time zone that goes with it."""
        if (
            self._array != self._pristine
            or self._c.value != self._begins
            or self._data != self._saved
            or os.environ is not self._environ
            or time.tzname is not self._tzname
        ):
            self._write_back()
            time.tzset()
            self._tzname = time.tzname

    def _write_back(self) -> None:
        os.environ, os.environb = self._environ, self._bytes
        setattr(os.environ, "_data", self._data)  # noqa: B010
        self._data.clear()
        self._data.update(self._saved)
        self._array[:] = self._pristine
        self._c.value = self._begins
        self._more, self._more_array = [], bytearray()


def _address(buffer: bytearray) -> int:
    """Where it is; as long as it has the same length it stays there."""
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


def _others(array: Any) -> list[int]:
    """The texts of C's environment that aren't ours to set."""
    found = []
    pointers = ctypes.cast(array, ctypes.POINTER(ctypes.c_void_p))
    for at in range(1_000_000):
        pointer = pointers[at]
        if pointer is None:
            break
        if ctypes.string_at(pointer).partition(b"=")[0].decode("latin-1") not in NAMES:
            found.append(pointer)
    return found
