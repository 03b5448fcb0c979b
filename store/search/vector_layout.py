"""The layout of served vectors: biases are stored in extra dimensions of the vector.

A served row is [g, x_image, x_text, x_audio, 0 ...] with x_m = centre_m - bias_m for queries of
modality m. A query is [sum of w v, w_image, w_text, w_audio, 0 ...]. Their dot product is the
weighted sum of the corrected scores, up to a constant. So a plain dot-product search, with or
without an index, ranks rows by corrected scores, for any mix of inputs. A weight of zero leaves a
modality uncorrected.

Biases are centred because quantisers and partitions of an index depend on the length of vectors.
"""

from collections.abc import Mapping

import numpy as np

from store.tables.schema import MODALITIES, served_width


def fold(
    vectors: np.ndarray, bias: Mapping[str, np.ndarray], centre: Mapping[str, float]
) -> np.ndarray:
    """Build served rows.

    Args:
        vectors: (n, d).
        bias: (n,) by modality of queries. Modalities that are missing are not corrected.
        centre: the constant that biases are centred by, by modality of queries.

    Returns:
        (n, served_width(d)) float32.
    """
    n, dim = vectors.shape
    rows = np.zeros((n, served_width(dim)), np.float32)
    rows[:, :dim] = vectors
    for modality, values in bias.items():
        rows[:, dim + MODALITIES.index(modality)] = centre[modality] - values
    return rows


def unfold(rows: np.ndarray, dim: int) -> np.ndarray:
    """The vectors (n, dim) of served rows."""
    return rows[:, :dim]


def query_vector(vector: np.ndarray, weights: Mapping[str, float]) -> np.ndarray:
    """Build the query for served rows.

    Args:
        vector: (d,), the weighted sum of the inputs.
        weights: by modality, the weights of the inputs that are corrected.

    Returns:
        (served_width(d),) float32.
    """
    dim = vector.shape[0]
    query = np.zeros(served_width(dim), np.float32)
    query[:dim] = vector
    for modality, weight in weights.items():
        query[dim + MODALITIES.index(modality)] = weight
    return query
