"""A suggested query, as a value; `store.search.suggest` makes it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Suggestion:
    """A change of a query's text that leads to a cluster of its results.

    Attributes:
        text: the changed text.
        rows: how many of the results are in the cluster.
        ids: of samples of the cluster, those nearest to `text` first.
        gain: how much more `text` prefers the cluster to the other results than the query's own
            text does, in cosine.
        specificity: average precision of the cluster's rows if all results are ranked by `text`.
        before: the same by the query's own text.
        representativeness: cosine of `text` and the mean of the cluster's vectors.
        similarity: cosine of `text` and the query's own text.
    """

    text: str
    rows: int
    ids: tuple[str, ...]
    gain: float
    specificity: float
    before: float
    representativeness: float
    similarity: float
