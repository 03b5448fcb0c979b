"""The order of samples that are equal otherwise: by id, and then by the name of the drop."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from pipelines.policy.column_files import Columns
from pipelines.policy.signal_columns import take_rows
from store.identity import id_words

Ids: TypeAlias = Callable[[np.ndarray], pa.Array]  # rows (k,) -> their packed ids


def identity_order(samples: Columns, ids: Ids, rows: np.ndarray) -> np.ndarray:
    """The permutation that sorts some rows by id, and then by drop."""
    drops = take_rows(samples["drop"], rows)
    rank = np.argsort(np.argsort(drops.dictionary.to_pylist()))
    high, low = id_words(ids(rows)).T
    return np.lexsort((rank[drops.indices.to_numpy()], low, high))
