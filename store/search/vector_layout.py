"""The layout of a served vector: what a correction subtracts is folded into extra dimensions.

A row is [g, x_image, x_text, x_audio, 0 ...] with x_m = centre_m - bias_m for queries of modality
m, and a query is [sum of w v, w_image, w_text, w_audio, 0 ...]: their product is the weighted sum
of the corrected scores, less a constant. So a plain dot-product search, over an index or not, ranks
as the correction does, for any mix of inputs, and a weight of zero leaves a modality uncorrected.
Biases are centred because quantisers and partitions go by length.
"""

from collections.abc import Mapping

import numpy as np

from store.tables.schema import MODALITIES, served_width


def fold(
    vectors: np.ndarray, bias: Mapping[str, np.ndarray], centre: Mapping[str, float]
) -> np.ndarray:
    """Rows as they are served (n, served_width(d)), of vectors (n, d) and biases (n,) by query
    modality; modalities that are left out are not corrected. float32."""
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
    """A query (d,) as it is asked of served rows, corrected with these weights by modality."""
    dim = vector.shape[0]
    asked = np.zeros(served_width(dim), np.float32)
    asked[:dim] = vector
    for modality, weight in weights.items():
        asked[dim + MODALITIES.index(modality)] = weight
    return asked
