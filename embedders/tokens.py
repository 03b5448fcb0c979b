"""Token vectors: an encoder's output at each token of a text, or at each patch of an image.

An encoder offers them with `token_dim` and `encode_tokens`. The option `tokens` of a spec makes it
an encoder whose rows are the packed token vectors of its inputs, so that the pool, the staging and
the server encode them as they encode vectors.
"""

from typing import Any, Protocol, TypeGuard

import numpy as np

from embedders.encoder import Encoder, cost_of, unit_rows
from store.errors import EncoderError
from store.tables import tokens
from store.tables.tokens import MOST, TokenSets


class HasTokens(Encoder, Protocol):
    """An encoder that also offers token vectors.

    Attributes:
        token_dim: the number of their dimensions.
    """

    @property
    def token_dim(self) -> int: ...

    def encode_tokens(self, batch: list[Any]) -> list[np.ndarray]:
        """The token vectors of prepared inputs: for each, float32 (t, token_dim), of any length.

        Vectors of padding and special tokens are left out.

        Raises:
            EncoderError: the model has none that can be compared with its vectors.
        """
        ...


def has_tokens(encoder: Encoder) -> TypeGuard[HasTokens]:
    """Whether an encoder offers token vectors."""
    return hasattr(encoder, "encode_tokens")


class TokenEncoder:
    """Encodes inputs as packed token vectors (`store.tables.tokens.pack`).

    Of an input with more than `MOST` tokens, neighbours are averaged: patches of an image in a
    square grid as squares, others as stretches of equal length.

    Args:
        encoder: that offers token vectors.

    Raises:
        EncoderError: it offers none.
    """

    def __init__(self, encoder: Encoder):
        if not has_tokens(encoder):
            raise EncoderError(
                f"{encoder.name} has no token vectors; towers that have: local:text, and those of"
                " open_clip, if they are transformers and not aligned or bridged"
            )
        self.encoder = encoder
        self.name = encoder.name
        self.version = encoder.version
        self.modality = encoder.modality

    @property
    def dim(self) -> int:
        return MOST * self.encoder.token_dim

    @property
    def fingerprint(self) -> str:
        return tokens.fingerprint(self.encoder.fingerprint)

    def prepare(self, raw: Any) -> Any:
        return self.encoder.prepare(raw)

    def cost(self, prepared: Any) -> float:
        return cost_of(self.encoder, prepared)

    def encode(self, batch: list[Any]) -> np.ndarray:
        """Packed unit vectors, float32 (n, dim): not of unit length."""
        is_grid = self.modality == "image"
        parts = [averaged(each, is_grid) for each in self.encoder.encode_tokens(batch)]
        vectors = np.concatenate([np.empty((0, self.encoder.token_dim), np.float32), *parts])
        return tokens.pack(TokenSets(unit_rows(vectors), np.array([len(each) for each in parts])))


def averaged(rows: np.ndarray, is_grid: bool, most: int = MOST) -> np.ndarray:
    """At most `most` means of neighbouring rows (t, d); the rows themselves if there are no more.

    Args:
        rows: in the order of a text, or of a grid of patches, row by row.
        is_grid: rows of a square grid are averaged as squares.
        most: a square number.
    """
    count = len(rows)
    if count <= most:
        return rows
    side, fewer = int(np.sqrt(count)), int(np.sqrt(most))
    if is_grid and side * side == count:
        own = np.arange(side) * fewer // side
        groups = (own[:, None] * fewer + own).reshape(-1)
    else:
        groups = np.arange(count) * most // count
    sums = np.zeros((most, rows.shape[1]), np.float32)
    np.add.at(sums, groups, rows)
    return sums / np.bincount(groups, minlength=most)[:, None]
