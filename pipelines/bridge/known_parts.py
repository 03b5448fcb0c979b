"""The parts that a bridge is learned from, chosen on and tested on: in the old space and the new.

They are the parts of the old space's banks, whose splits no bank shares with a test pair.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.alignment.bridge import Rows
from embedders.spaces import Space
from pipelines.engine.encode_texts import encode_texts
from pipelines.engine.part_vectors import query_vectors
from store.errors import InputError
from store.tables.banks import PAIR_SPLITS, Bank, Banks
from store.workspace import Workspace


@dataclass(frozen=True)
class KnownParts:
    """The parts of one modality in one split, those that the new encoder encodes.

    Attributes:
        bank: their part ids, clusters and vectors in the old space.
        new: (n, d_new) float32 their vectors in the new space.
        missing: the number of parts that have no vector in the new space.
    """

    bank: Bank
    new: np.ndarray
    missing: int

    @property
    def rows(self) -> Rows:
        """The vectors in both spaces."""
        return Rows(self.new, self.bank.vectors)

    def towards(self, pairs: dict[str, set[str]], partners: Bank) -> Rows:
        """The new vectors of parts with the old vectors of their partners, one row for each pair.

        Args:
            pairs: the ids of the partners of each part (`Banks.pairs`).
            partners: of another modality.
        """
        row_of = {part: row for row, part in enumerate(partners.parts.tolist())}
        linked = [
            (row, row_of[partner])
            for row, part in enumerate(self.bank.parts.tolist())
            for partner in sorted(pairs.get(part, ()))
            if partner in row_of
        ]
        own, other = np.array(linked, np.int64).reshape(-1, 2).T
        return Rows(self.new[own], partners.vectors[other])


def read_known(
    workspace: Workspace, banks: Banks, new: Space, modality: str
) -> dict[str, KnownParts]:
    """The parts of a modality by split. An encoder of queries encodes what it has not yet encoded.

    Args:
        workspace: the corpus.
        banks: of the old space.
        new: the new space.
        modality: that both spaces have.
    """
    own = {split: banks.part(split, modality) for split in PAIR_SPLITS}
    ids = np.concatenate([bank.parts for bank in own.values()])
    vectors, _ = query_vectors(workspace, new, modality, ids.tolist())
    ends = np.cumsum([len(bank.parts) for bank in own.values()])[:-1]
    known = {}
    for split, rows in zip(own, np.split(vectors, ends), strict=True):
        present = np.isfinite(rows).all(axis=1)
        bank = Bank(*(values[present] for values in own[split]))
        known[split] = KnownParts(bank, rows[present], int((~present).sum()))
    return known


def encode_both(old: Space, new: Space, texts: Collection[str]) -> Rows:
    """Further texts in both spaces, without those that an encoder refuses.

    Raises:
        InputError: an encoder's vectors are not finite.
    """
    distinct = sorted(set(texts))
    sides = [
        encode_texts(space.towers["text"], distinct, f"texts, {space.name}") for space in (new, old)
    ]
    rows = [
        (a, b)
        for t in distinct
        if (a := sides[0][t]) is not None and (b := sides[1][t]) is not None
    ]
    if not rows:
        raise InputError("an encoder refuses each of the texts")
    ours, theirs = zip(*rows, strict=True)
    return Rows(np.stack(ours), np.stack(theirs))


def only_pairs(banks: Banks) -> Banks:
    """The rows of banks that are parts of pairs, with the vectors of items."""
    table = banks.table
    return Banks(table.filter(pc.is_in(table["split"], value_set=pa.array(PAIR_SPLITS))))
