"""The banks of a release: the fixed samples of queries and items that its corrections know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store import identity
from store.arrays import as_matrix
from store.errors import EncoderError
from store.tables import schema
from store.tables.lance_tables import Tables, quote
from store.tables.releases import Release


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


_NAMES = ["split", "modality", "part_id", "origin", "encoder"]
LEAST_BANK = 16  # queries; from fewer nothing can be learned


@dataclass(frozen=True)
class Banks:
    """The rows of `banks__{space}`, by split and modality."""

    table: pa.Table

    def part(self, split: str, modality: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors (n, d), clusters (n,) and part ids (n,) of the parts, each part once."""
        rows = _rows(self.table, split, modality)
        parts = rows["part_id"].to_numpy(zero_copy_only=False).astype(str)
        _, first = np.unique(parts, return_index=True)
        once = rows.take(pa.array(first))
        clusters = once["cluster"].to_numpy(zero_copy_only=False).astype(str)
        return as_matrix(once["vector"]), clusters, parts[first]

    def queries(self, modality: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The query bank of a modality, as `part` gives it.

        It is the corpus's own bank, unless corpus.yaml's `query_bank` put queries of other origin
        into the split `queries`. Ids and clusters of those equal none of the corpus's, except
        where a query is a part of the corpus: then they are that part's.
        """
        return self.part(_query_split(self.table, modality), modality)

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


def describe(banks_table: lance.LanceDataset) -> dict[str, Any]:
    """What a release says of its banks, as JSON values; no vector is read.

    `version` is the table's. Under each modality that has a query bank: `origin` (such as "corpus",
    or "corpus + log"), `rows` (distinct queries), `digest` (hex, of what is in it, in any order)
    and `fingerprint` (of the encoder that made its vectors).
    """
    rows = banks_table.to_table(columns=_NAMES)
    named: dict[str, Any] = {"version": int(banks_table.version)}
    for modality in schema.MODALITIES:
        bank = _rows(rows, _query_split(rows, modality), modality)
        if bank.num_rows:
            named[modality] = {
                "origin": " + ".join(sorted(set(bank["origin"].to_pylist()))),
                "rows": len(pc.unique(bank["part_id"])),
                "digest": digest(bank),
                "fingerprint": " + ".join(sorted(set(bank["encoder"].to_pylist()))),
            }
    return named


def digest(rows: pa.Table) -> str:
    """Hex digest of which parts are in which split, of what origin and by which encoder; equal for
    equal rows in any order."""
    columns = rows.select(_NAMES).to_pydict().values()
    return f"{identity.unordered(map(chr(10).join, zip(*columns, strict=True))):032x}"


def check_encoders(banks: Banks, fingerprints: Mapping[str, str]) -> None:
    """Raise EncoderError where a bank's vectors were not made by the space's encoders.

    Args:
        fingerprints: of the space's encoders, by modality.
    """
    made = banks.table.group_by(["modality", "encoder"]).aggregate([]).to_pylist()
    for row in sorted(made, key=lambda r: (r["modality"], r["encoder"])):
        expected = fingerprints.get(row["modality"])
        if row["encoder"] != expected:
            raise EncoderError(
                f"the {row['modality']} vectors of the banks were made by {row['encoder']}, the"
                f" space has {expected}: `isotrope run` draws the banks anew"
            )


def _query_split(rows: pa.Table, modality: str) -> str:
    return "queries" if _rows(rows, "queries", modality).num_rows else "bank"


def _rows(rows: pa.Table, split: str, modality: str) -> pa.Table:
    return rows.filter(
        pc.and_(pc.equal(rows["split"], split), pc.equal(rows["modality"], modality))
    )
