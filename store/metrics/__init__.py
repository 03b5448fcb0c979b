"""Measures of retrieval, hubness, scores and geometry, with intervals, on numpy arrays.

`isotrope.evaluate` computes all measures of one correction for one set of queries.
"""

from store.metrics.geometry import alignment, mean_rank_variance, modality_gap, uniformity
from store.metrics.hubness import anti_hub_share, hub_share, k_occurrence, robin_hood, skewness
from store.metrics.intervals import Interval, bootstrap, bootstrap_many, paired_bootstrap
from store.metrics.retrieval import (
    Relevant,
    average_precision,
    first_ranks,
    list_ranks,
    median_rank,
    ndcg,
    recall_at,
    reciprocal_rank,
    relevant_ranks,
)
from store.metrics.scores import auc, histograms

__all__ = [
    "Interval",
    "Relevant",
    "alignment",
    "anti_hub_share",
    "auc",
    "average_precision",
    "bootstrap",
    "bootstrap_many",
    "first_ranks",
    "histograms",
    "hub_share",
    "k_occurrence",
    "list_ranks",
    "mean_rank_variance",
    "median_rank",
    "modality_gap",
    "ndcg",
    "paired_bootstrap",
    "recall_at",
    "reciprocal_rank",
    "relevant_ranks",
    "robin_hood",
    "skewness",
    "uniformity",
]
