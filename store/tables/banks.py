"""Reads the table `banks__{space}`: the queries and items that corrections are fitted on."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store import identity
from store.arrow import as_matrix
from store.errors import EncoderError
from store.tables import schema
from store.tables.lance_tables import quote

PAIR_SPLITS = ("bank", "validation", "test")
MIN_BANK_SIZE = 16  # queries; a correction cannot be fitted on fewer
_DESCRIBED = ["split", "modality", "part_id", "origin", "encoder"]


class Bank(NamedTuple):
    """Parts of one split and modality, each part once, ordered by part id.

    Attributes:
        vectors: unit vectors (m, d) float32.
        clusters: (m,) the cluster of each part.
        parts: (m,) part ids.
    """

    vectors: np.ndarray
    clusters: np.ndarray
    parts: np.ndarray


class Banks:
    """The rows of `banks__{space}`, by split and modality (see `schema.banks` for the splits).

    Args:
        rows: a version of the table, of which rows and columns are read when they are needed, or
            the table in memory.
    """

    def __init__(self, rows: lance.LanceDataset | pa.Table):
        self._rows = rows
        self._parts: dict[tuple[str, str], Bank] = {}
        self._modalities: dict[str, set[str]] = {}

    @cached_property
    def table(self) -> pa.Table:
        """All rows and columns, in memory."""
        return self._rows if isinstance(self._rows, pa.Table) else self._rows.to_table()

    @cached_property
    def _labels(self) -> pa.Table:
        """All rows without their vectors, in memory."""
        names = [name for name in self._rows.schema.names if name != "vector"]
        rows = self._rows
        return rows.select(names) if isinstance(rows, pa.Table) else rows.to_table(columns=names)

    def part(self, split: str, modality: str) -> Bank:
        """The parts of a split and modality. Read once, then kept in memory."""
        if (split, modality) not in self._parts:
            rows = self.select(["vector", "cluster", "part_id"], split=split, modality=modality)
            part_ids = rows["part_id"].to_numpy(zero_copy_only=False).astype(str)
            part_ids, first = np.unique(part_ids, return_index=True)
            rows = rows.take(pa.array(first))
            clusters = rows["cluster"].to_numpy(zero_copy_only=False).astype(str)
            self._parts[split, modality] = Bank(as_matrix(rows["vector"]), clusters, part_ids)
        return self._parts[split, modality]

    def items(self, modality: str) -> Bank:
        """The item bank of a gallery. It always comes from the corpus itself."""
        return self.part("bank", modality)

    def queries(self, modality: str) -> Bank:
        """The query bank of a modality.

        This is the corpus's own bank, unless corpus.yaml's `query_bank` put queries of another
        origin into the split `queries`. Ids and clusters of those queries differ from all of the
        corpus, except that a query that is a part of the corpus has the part's id and cluster.
        """
        return self.part(self.query_split(modality), modality)

    def pair_queries(self, split: str, modality: str) -> Bank:
        """The parts of a split of pairs as queries.

        Their vectors are those of the queries' own encoder, if the space has a bridge; parts that
        it cannot encode are missing.
        """
        bridged = bridged_split(split)
        return self.part(bridged if modality in self._modalities_of(bridged) else split, modality)

    def query_split(self, modality: str) -> str:
        """The split that holds the query bank of a modality: `queries` if it has any, else
        `bank`."""
        return "queries" if modality in self._modalities_of("queries") else "bank"

    def is_own(self, modality: str) -> bool:
        """Whether the query bank of a modality is drawn from the corpus alone."""
        split = self.query_split(modality)
        rows = self.select(["origin"], split=split, modality=modality)
        return set(rows["origin"].to_pylist()) <= {"corpus"}

    def _modalities_of(self, split: str) -> set[str]:
        if split not in self._modalities:
            rows = self.select(["modality"], split=split)
            self._modalities[split] = set(rows["modality"].to_pylist())
        return self._modalities[split]

    def pairs(self, split: str, query: str, gallery: str) -> dict[str, set[str]]:
        """For each query part of a split, the gallery parts of the same samples.

        Args:
            split: such as `validation`.
            query: the modality of the queries.
            gallery: the modality of the gallery.
        """
        rows = self.select(["sample_id", "modality", "part_id"], split=split)
        by_sample: dict[str, dict[str, str]] = {}
        for sample, modality, part in zip(*rows.to_pydict().values(), strict=True):
            by_sample.setdefault(sample, {})[modality] = part
        pairs: dict[str, set[str]] = {}
        for parts in by_sample.values():
            if query in parts and gallery in parts:
                pairs.setdefault(parts[query], set()).add(parts[gallery])
        return pairs

    def select(self, columns: list[str], **values: str) -> pa.Table:
        """Some columns of the rows whose columns have these `values`, such as `split="test"`.

        Vectors are read each time; other columns are read once, then kept in memory.
        """
        rows = self._rows
        if "vector" in columns and not isinstance(rows, pa.Table):
            where = " AND ".join(f"{column} = {quote(value)}" for column, value in values.items())
            return rows.to_table(columns=columns, filter=where or None)
        table = rows if "vector" in columns else self._labels
        for column, value in values.items():
            table = table.filter(pc.equal(table[column], value))
        return table.select(columns)


def describe_banks(banks_table: lance.LanceDataset) -> dict[str, Any]:
    """The description of the banks that a release stores, as JSON values. Reads no vectors.

    Returns:
        `version` of the table. For each modality that has a query bank: `origin` (such as "corpus"
        or "corpus + log"), `rows` (distinct queries), `digest_rows` (hex digest of the rows in any
        order) and `fingerprint` (of the encoder that made the vectors).
    """
    banks = Banks(banks_table)
    description: dict[str, Any] = {"version": int(banks_table.version)}
    for modality in schema.MODALITIES:
        rows = banks.select(_DESCRIBED, split=banks.query_split(modality), modality=modality)
        if rows.num_rows:
            description[modality] = {
                "origin": " + ".join(sorted(set(rows["origin"].to_pylist()))),
                "rows": len(pc.unique(rows["part_id"])),
                "digest": digest_rows(rows),
                "fingerprint": " + ".join(sorted(set(rows["encoder"].to_pylist()))),
            }
    return description


def digest_rows(rows: pa.Table) -> str:
    """Hex digest of rows of the table: their splits, modalities, part ids, origins and encoders.
    Equal for equal rows in any order."""
    columns = rows.select(_DESCRIBED).to_pydict().values()
    return f"{identity.unordered_digest(map(chr(10).join, zip(*columns, strict=True))):032x}"


def bridged_split(split: str) -> str:
    """The split that has the parts of a split of pairs as a bridge makes queries of them."""
    return "queries" if split == "bank" else f"{split}_queries"


def check_encoders(
    banks: Banks, fingerprints: Mapping[str, str], query_fingerprints: Mapping[str, str]
) -> None:
    """Check that the vectors of the banks were made by the space's encoders.

    Args:
        banks: all splits.
        fingerprints: of the space's encoders of items, by modality.
        query_fingerprints: of its encoders of queries, by modality.

    Raises:
        EncoderError: other encoders made some of the vectors.
    """
    keys = ["split", "modality", "encoder"]
    kinds = banks.select(keys).group_by(keys).aggregate([]).to_pylist()
    for row in sorted(kinds, key=lambda r: [r[key] for key in keys]):
        is_item = row["split"] in PAIR_SPLITS
        expected = (fingerprints if is_item else query_fingerprints).get(row["modality"])
        if row["encoder"] != expected:
            raise EncoderError(
                f"the {row['modality']} vectors of the banks were made by {row['encoder']}, the"
                f" space has {expected}: `isotrope run` draws the banks again"
            )
