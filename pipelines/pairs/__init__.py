"""pairs: how well the parts of every sample fit each other, in the corpus's space."""

from pipelines.pairs.stage import measure_pairs

__all__ = ["measure_pairs"]
