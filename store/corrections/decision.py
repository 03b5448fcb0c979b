"""Decide among candidates by their results on held-out pairs.

The default is left only for a candidate that is better with 90% certainty. Pairs can tell good from
bad settings, but rarely the best from the second best. So the decision is the average of the
biases of the best few candidates that move vectors as the best one does.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from store.corrections.crossfit import Trial, assign_folds
from store.corrections.fit import Spec
from store.corrections.recipe import Recipe, average_of

FOLDS = 10
CERTAIN = 1.28  # standard errors: the normal quantile of 90%
AVERAGED = 3  # candidates; more of them cost more of a fit and gain no more


class Outcome(NamedTuple):
    """The decision on all pairs, and how decisions do on pairs that they were not made on.

    Attributes:
        best: what was decided on all pairs.
        tried: the candidates, then `best` if it is an average of them.
        trial: the results of `tried`; the first is raw.
        held_out: (m,) reciprocal ranks of each pair, under the decision on the other nine folds.
    """

    best: Recipe
    tried: list[Recipe]
    trial: Trial
    held_out: np.ndarray


def decide(
    candidates: Sequence[Recipe],
    trial: Trial,
    default: int,
    measure: Callable[[Sequence[Spec]], Trial],
    rng: np.random.Generator,
) -> Outcome:
    """The best candidate or average of candidates.

    Args:
        candidates: the first is raw.
        trial: their results.
        default: index of the candidate that is taken unless another one is certainly better.
        measure: measures other recipes on the same pairs.
        rng: assigns the pairs to folds.
    """
    fold = assign_folds(trial.groups, FOLDS, rng)
    used = [np.ones(fold.size, bool), *(fold != f for f in range(FOLDS))]
    best, *of_folds = (_best(candidates, trial, default, queries) for queries in used)
    tried = list(candidates)
    for decided in (best, *of_folds):
        if decided not in tried:
            tried.append(decided)
    if len(tried) > len(candidates):
        trial = trial.join(measure([r.spec for r in tried[len(candidates) :]]))
    held_out = np.empty(fold.size)
    for f, decided in enumerate(of_folds):
        held_out[fold == f] = trial.reciprocal_ranks[tried.index(decided), fold == f]
    shown = max(len(candidates), tried.index(best) + 1)
    return Outcome(best, tried[:shown], trial.first(shown), held_out)


def _best(candidates: Sequence[Recipe], trial: Trial, default: int, used: np.ndarray) -> Recipe:
    """The decision on some queries: the best candidate, or the average of the best few like it."""
    best = candidates[best_candidate(trial, default, used)]
    if not best.can_average:
        return best
    alike = [i for i, r in enumerate(candidates) if r.can_average and r.key == best.key]
    means = trial.reciprocal_ranks[:, used].mean(axis=1)
    few = sorted(alike, key=lambda i: -means[i])[:AVERAGED]
    return average_of([candidates[i] for i in few]) if len(few) > 1 else best


def best_candidate(trial: Trial, default: int, used: np.ndarray) -> int:
    """The index of the best candidate.

    Args:
        trial: the results of all candidates; the first is raw.
        default: index of the candidate that is taken unless another one is certainly better.
        used: (m,) bool, the queries that may be used.
    """
    ranks, groups = trial.reciprocal_ranks[:, used], trial.groups[used]
    scores = [lower_end(candidate - ranks[default], groups) for candidate in ranks]
    best = int(np.argmax(scores)) if max(scores) > 0 else default
    # Zero means that every query has the same rank, so there is nothing to correct.
    return 0 if lower_end(ranks[0] - ranks[best], groups) >= 0 else best


def lower_end(differences: np.ndarray, groups: np.ndarray) -> float:
    """The lower end of the mean difference: above zero, the first is certainly better."""
    _, group = np.unique(groups, return_inverse=True)
    mean = differences.mean()
    deviations = np.bincount(group, differences - mean)
    return float(mean - CERTAIN * np.sqrt((deviations**2).sum()) / differences.size)
