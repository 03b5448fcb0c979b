"""Values of tasks that are kept for later tasks: in Ray's object store, or in scratch files.

A value is pickled, with its arrays as they are in memory. Reading it maps its arrays, from the
object store or from the file, so that only what is used of them is read. They cannot be written.
"""

import mmap
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray


class Kept(Protocol):
    """A value that can be read, here or by a task."""

    def read(self) -> Any: ...


@dataclass(frozen=True)
class KeptOnRay:
    """A value in Ray's object store."""

    reference: ray.ObjectRef

    def read(self) -> Any:
        return ray.get(self.reference)


class KeptFile:
    """A value in a scratch file of this machine."""

    def __init__(self, path: Path, value: Any):
        """Write the file."""
        self._path, self._ends, end = path, list[int](), 0
        buffers = list[pickle.PickleBuffer]()
        self._pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        with path.open("wb") as file:
            for buffer in buffers:
                end += file.write(buffer.raw())
                self._ends.append(end)

    def read(self) -> Any:
        starts = [0, *self._ends]
        if not starts[-1]:  # an empty file cannot be mapped
            return pickle.loads(self._pickled, buffers=[b""] * len(self._ends))
        with self._path.open("rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        ranges = zip(starts, self._ends, strict=False)
        return pickle.loads(self._pickled, buffers=[mapped[a:b] for a, b in ranges])
