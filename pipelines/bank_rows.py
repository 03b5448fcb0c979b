"""The rows of `banks__{space}` read back."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.tables import as_matrix


@dataclass(frozen=True)
class Banks:
    """The rows of `banks__{space}`, by split and modality."""

    table: pa.Table

    def part(self, split: str, modality: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors (n, d), clusters (n,) and part ids (n,) of the parts, each part once."""
        rows = self.table.filter(
            pc.and_(
                pc.equal(self.table["split"], split), pc.equal(self.table["modality"], modality)
            )
        )
        parts = rows["part_id"].to_numpy(zero_copy_only=False).astype(str)
        _, first = np.unique(parts, return_index=True)
        once = rows.take(pa.array(first))
        clusters = once["cluster"].to_numpy(zero_copy_only=False).astype(str)
        return as_matrix(once["vector"]), clusters, parts[first]

    def pairs(self, split: str, query: str, gallery: str) -> dict[str, set[str]]:
        """For each query part of a split, the gallery parts of its samples."""
        rows = self.table.filter(pc.equal(self.table["split"], split))
        by_sample: dict[str, dict[str, str]] = {}
        for row in rows.select(["sample_id", "modality", "part_id"]).to_pylist():
            by_sample.setdefault(row["sample_id"], {})[row["modality"]] = row["part_id"]
        found: dict[str, set[str]] = {}
        for parts in by_sample.values():
            if query in parts and gallery in parts:
                found.setdefault(parts[query], set()).add(parts[gallery])
        return found

    def queries(self, modality: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The query bank of a modality, as `part` gives it."""
        return self.part("bank", modality)
