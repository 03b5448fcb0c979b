"""The banks of a release: the fixed samples of queries and items that its corrections know."""

from typing import NamedTuple

import numpy as np

from store.releases import Release
from store.tables import Tables, as_matrix, quote


class Bank(NamedTuple):
    """Unit vectors (m, d), and the clusters (m,) and part ids (m,) that they are of."""

    vectors: np.ndarray
    clusters: np.ndarray
    parts: np.ndarray


class ReleaseBanks:
    """Reads a release's banks, each once."""

    def __init__(self, tables: Tables, release: Release):
        name = f"banks__{release.space}"
        self._table = tables.open(name, version=release.versions[name])
        self._read: dict[str, Bank] = {}

    def queries(self, modality: str) -> Bank:
        """What queries of a modality are like: those of other origin, where the release has any."""
        of_modality = f"modality = {quote(modality)}"
        asked = self._rows(f"split = 'queries' AND {of_modality}")
        return asked if len(asked.parts) else self._rows(f"split = 'bank' AND {of_modality}")

    def items(self, modality: str) -> Bank:
        """What the gallery of a modality is like."""
        return self._rows(f"split = 'bank' AND modality = {quote(modality)}")

    def _rows(self, where: str) -> Bank:
        if where not in self._read:
            columns = ["vector", "cluster", "part_id"]
            found = self._table.to_table(columns=columns, filter=where)
            parts = found["part_id"].to_numpy(zero_copy_only=False).astype(str)
            parts, first = np.unique(parts, return_index=True)
            self._read[where] = Bank(
                as_matrix(found["vector"])[first],
                found["cluster"].to_numpy(zero_copy_only=False).astype(str)[first],
                parts,
            )
        return self._read[where]
