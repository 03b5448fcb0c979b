"""The policy's step `coreset`: keep the samples that represent the others best."""

import math
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from pipelines.engine.array_files import ArrayFile
from pipelines.policy.column_files import Columns
from pipelines.policy.coreset_cells import choose
from pipelines.policy.identity_order import Ids, identity_order
from pipelines.policy.row_rules import as_text
from pipelines.policy.sample_vectors import sample_blocks
from pipelines.policy.verdicts import Verdicts
from store.config.rules import Coreset

# As `sample_vectors.read_vectors` of a corpus: blocks of samples, modalities, folder -> vectors by
# modality, and which samples have any.
ReadVectors: TypeAlias = Callable[
    [Iterable[pa.Table], tuple[str, ...], Path], tuple[dict[str, ArrayFile], np.ndarray]
]


def keep_coreset(
    coreset: Coreset, samples: Columns, ids: Ids, verdicts: Verdicts, read_vectors: ReadVectors
) -> None:
    """Reject all samples but those of the coreset, among those kept so far.

    Samples without a vector cannot be compared: they are rejected too, and not counted in a share.
    """
    rows = np.flatnonzero(verdicts.kept)
    if not len(rows):
        return
    rows = rows[identity_order(samples, ids, rows)]
    with tempfile.TemporaryDirectory() as folder:
        blocks = sample_blocks(samples, ids, rows)
        vectors, usable = read_vectors(blocks, coreset.modalities, Path(folder))
        available = int(usable.sum())
        count = coreset.count
        if coreset.share is not None:
            count = max(math.ceil(round(available * coreset.share, 6)), 1)
        assert count is not None
        verdicts.reject("coreset.no_vectors", rows[~usable], lambda of: (_nulls(of), _nulls(of)))
        chosen = choose(list(vectors.values()), coreset.method, count, usable=usable)
    values = np.full(samples.num_rows, np.nan, np.float32)
    values[rows] = chosen.values
    least = as_text(pa.array([chosen.least], pa.float32()))[0].as_py()
    verdicts.reject(
        f"coreset.{coreset.method}",
        rows[usable & ~chosen.chosen],
        lambda of: (as_text(pa.array(values[of])), pa.array([least] * len(of), pa.string())),
    )
    verdicts.figures |= {
        f"coreset: {modality} represented": share
        for modality, share in zip(vectors, chosen.coverage, strict=True)
        if math.isfinite(share)
    }


def _nulls(rows: np.ndarray) -> pa.Array:
    return pa.nulls(len(rows), pa.string())
