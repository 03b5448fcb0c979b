"""Late interaction: scores of a query's token vectors and those of items.

MaxSim (ColBERT, Khattab and Zaharia 2020; for patches of images FILIP, Yao et al. 2022) of unit
vectors q_1 .. q_m of the query and t_1 .. t_n of an item, with a bias b_j of each token t_j:

    (1/m) sum_i max_j (q_i . t_j - b_j)

Some tokens are hubs, as some items are: near to every token of every query. The biases are those
of a correction that is fitted on tokens of bank queries (`store.corrections`).
"""

from typing import NamedTuple

import numpy as np

from store.tables.tokens import TokenSets


def max_sim(query: np.ndarray, items: TokenSets, biases: np.ndarray | None = None) -> np.ndarray:
    """The MaxSim of a query and each item.

    Args:
        query: unit rows (m, d), m > 0.
        items: n items.
        biases: (t,) of the vectors of all items. None: zeros.

    Returns:
        (n,) float32. NaN for an item without vectors.
    """
    scores = np.full(len(items.lengths), np.nan, np.float32)
    present = items.lengths > 0
    if present.any():
        each = items.vectors @ query.T
        if biases is not None:
            each -= biases[:, None]
        starts = (np.cumsum(items.lengths) - items.lengths)[present]
        scores[present] = np.maximum.reduceat(each, starts, axis=0).mean(axis=1)
    return scores


class Matches(NamedTuple):
    """The best token of an item for each token of a query.

    Attributes:
        tokens: (m,) numbers of the item's tokens, from 0.
        cosines: (m,).
        biases: (m,) of the item's tokens.
    """

    tokens: np.ndarray
    cosines: np.ndarray
    biases: np.ndarray


def matches(query: np.ndarray, item: np.ndarray, biases: np.ndarray | None = None) -> Matches:
    """The tokens of an item that `max_sim` takes: of the mean of cosines less biases.

    Args:
        query: unit rows (m, d).
        item: unit rows (t, d), t > 0.
        biases: (t,). None: zeros.
    """
    own = np.zeros(len(item), np.float32) if biases is None else biases
    cosines = query @ item.T
    best = np.argmax(cosines - own, axis=1)
    return Matches(best, cosines[np.arange(len(query)), best], own[best])


def mixed(scores: np.ndarray, late: np.ndarray, weight: float) -> np.ndarray:
    """The scores of a list, mixed with the MaxSim of its rows.

    Both are scaled to the mean 0 and the deviation 1 over the list, because their ranges differ.

    Args:
        scores: (n,) of the list.
        late: (n,) NaN where there is none; such a row has its scaled score of the list alone.
        weight: of `late`, from 0 to 1.

    Returns:
        (n,) float64.
    """
    own, other = _scaled(scores), _scaled(late)
    return np.where(np.isnan(other), own, (1 - weight) * own + weight * other)


def _scaled(values: np.ndarray) -> np.ndarray:
    present = values[~np.isnan(values)].astype(np.float64)
    if not len(present):
        return values.astype(np.float64)
    return (values - present.mean()) / (present.std() or 1)
