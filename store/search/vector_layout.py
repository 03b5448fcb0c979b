"""The layout of served vectors: biases are stored in extra dimensions of the vector.

A served row is [g, x_image, x_text, x_audio, 0 ...] with x_m = s_m (centre_m - bias_m) for queries
of modality m. A query is [sum of w v, w_image / s_image, w_text / s_text, ..., 0 ...]. Their dot
product is the weighted sum of the corrected scores, up to a constant. So a plain dot-product
search, with or without an index, ranks rows by corrected scores, for any mix of inputs. A weight of
zero leaves a modality uncorrected.

Biases are centred because quantisers and partitions of an index depend on the length of vectors.
They are scaled because the error of a quantised dot product grows with the length of the query
times the length of the row's residual: with s = 1, the weight of the bias alone makes the query 1.4
times as long. With residuals of length r and biases of standard deviation b, s = sqrt(r / b) is
best; r is some 0.5 to 0.8 and b some 0.03 to 0.1.
"""

from collections.abc import Mapping

import numpy as np

from store.tables.direction import Direction
from store.tables.schema import MODALITIES, served_width

BIAS_SCALE = 4.0  # a power of two: it changes no digit of a bias


def fold(
    vectors: np.ndarray, bias: Mapping[str, np.ndarray], directions: Mapping[str, Direction]
) -> np.ndarray:
    """Build served rows.

    Args:
        vectors: (n, d).
        bias: (n,) by modality of queries. Modalities that are missing are not corrected.
        directions: the centre and the scale of each bias, by modality of queries.

    Returns:
        (n, served_width(d)) float32.
    """
    n, dim = vectors.shape
    rows = np.zeros((n, served_width(dim)), np.float32)
    rows[:, :dim] = vectors
    for modality, values in bias.items():
        direction = directions[modality]
        column = direction.scale * (direction.centre - values)
        rows[:, dim + MODALITIES.index(modality)] = column
    return rows


def unfold(rows: np.ndarray, dim: int) -> np.ndarray:
    """The vectors (n, dim) of served rows."""
    return rows[:, :dim]


def query_vector(
    vector: np.ndarray, weights: Mapping[str, float], directions: Mapping[str, Direction]
) -> np.ndarray:
    """Build the query for served rows.

    Args:
        vector: (d,), the weighted sum of the inputs.
        weights: by modality, the weights of the inputs that are corrected.
        directions: the scale of each bias, by modality of queries.

    Returns:
        (served_width(d),) float32.
    """
    dim = vector.shape[0]
    query = np.zeros(served_width(dim), np.float32)
    query[:dim] = vector
    for modality, weight in weights.items():
        query[dim + MODALITIES.index(modality)] = weight / directions[modality].scale
    return query
