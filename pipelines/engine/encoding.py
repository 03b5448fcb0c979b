"""How parts of samples are encoded: where, what is read, and the rows of their vectors."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from embedders.encoder import Encoder
from embedders.pool.one_process import EncodingProcess, OneProcess
from store.arrays import is_unit_length
from store.config.engine import Ray
from store.errors import InvariantError
from store.tables.table_version import TableVersion, take_rows

if TYPE_CHECKING:
    from embedders.pool.pool import Pool

# The largest unit: large enough that its overhead is small, small enough that it is soon redone.
UNIT_PARTS = {"image": 128, "text": 2048, "audio": 32}
# The most parts that one process starts to embed, divided by the number of actors. It hands over to
# the pool what is left after some seconds: the pool takes 4 s of processor more to start.
ONE_PROCESS_PARTS = 4096


def encoding_processes(
    spec: str, parts: int, ray: Ray, process: EncodingProcess | None
) -> "Pool | OneProcess":
    """The pool, or one process for few parts if the pool would be on this machine without GPUs."""

    def pool() -> "Pool":
        from embedders.pool.pool import Pool  # imports Ray, which takes seconds

        return Pool(spec, **ray.of_actors())

    elsewhere = ray.address or os.environ.get("RAY_ADDRESS") or ray.num_gpus or ray.accelerator_type
    if elsewhere or parts * ray.actors > ONE_PROCESS_PARTS:
        return pool()
    return OneProcess(spec, pool, num_cpus=ray.num_cpus, batch_size=ray.batch_size, process=process)


@dataclass(frozen=True)
class LoadParts:
    """Reads the parts of one unit from `samples`.

    Attributes:
        samples: the table.
        column: of the part: image, text or audio.
        ids: of the parts.
        rows: the row ids of the samples that hold these parts, one for each.
    """

    samples: TableVersion
    column: str
    ids: tuple[str, ...]
    rows: tuple[int, ...]

    def __call__(self) -> list[tuple[str, bytes | str]]:
        """(part id, bytes or text) of each part."""
        table = take_rows(self.samples, self.rows, [self.column])
        return list(zip(self.ids, table[self.column].to_pylist(), strict=True))


def vector_rows(
    ids: list[str], vectors: np.ndarray, encoder: Encoder, columns: pa.Schema
) -> pa.RecordBatch:
    """Rows of a table of vectors.

    The vectors are copied, since those of a pool's result lie in Ray's object store, which must be
    freed soon.

    Args:
        ids: of the parts.
        vectors: unit rows (n, d).
        columns: the schema of the table: `schema.vectors`.

    Raises:
        InvariantError: a vector is not of unit length.
    """
    stored = columns.field("vector").type
    _check_unit_length(ids, vectors)  # in the encoder's own precision
    is_half = pa.types.is_float16(stored.value_type)
    copied = np.array(vectors, np.float16 if is_half else np.float32)
    arrays = [
        *part_columns(ids, encoder),
        pa.FixedSizeListArray.from_arrays(pa.array(copied.reshape(-1)), stored.list_size),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


def part_columns(ids: list[str], encoder: Encoder) -> list[pa.Array]:
    """The columns `part_id`, `modality` and `encoder` of parts that an encoder has encoded."""
    constants = (encoder.modality, encoder.fingerprint)
    return [pa.array(each, pa.string()) for each in (ids, *([c] * len(ids) for c in constants))]


def _check_unit_length(ids: list[str], vectors: np.ndarray) -> None:
    wrong = ~is_unit_length(vectors)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InvariantError(
            f"{int(wrong.sum())} vectors of a batch are not of unit length; for example, that of"
            f" part {ids[row]} has length {np.linalg.norm(vectors[row]):g}; nothing was published"
        )
