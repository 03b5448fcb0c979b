"""Choose a correction on held-out pairs. This is the setting `auto` of a direction.

Each candidate (a method with its parameters) is measured by its mean reciprocal rank on held-out
pairs, with cross-fitting: the setting that is best on nine folds is judged on the tenth. Among the
candidates that are within `NEAR_TIE` of the best, the one with the least skewed k-occurrence is
chosen. Raw scores are kept unless the choice has a gain over raw that chance does not explain.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from store.corrections.correction import Correction
from store.corrections.crossfit import Trial, cross_fit, sample_pairs
from store.corrections.evaluate import check_exclude
from store.corrections.fit import Spec, fit
from store.corrections.kernels.arrays import Array, as_matrix
from store.corrections.kernels.threads import one_blas_thread
from store.corrections.method import Params
from store.corrections.recipe import METHODS, Recipe, recipe
from store.errors import InputError
from store.metrics.hubness import skewness
from store.metrics.intervals import Interval, bootstrap_many, paired_bootstrap
from store.metrics.retrieval import Relevant

FOLDS = 10
LEAST_PAIRS = 100
NEAR_TIE = 0.005  # difference in mean reciprocal rank
CONFIDENCE = 0.5  # level of the interval that must lie above zero: a gain in 3 of 4 resamples

CANDIDATES = (*(name for name in METHODS if name != "none"), "invgc_local+nnn",
              "invgc_local+inverted_softmax")  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A chosen method with its parameters, and why it was chosen.

    Attributes:
        method: name of the method or composition; "none" for raw scores.
        params: all of its parameters.
        gain: gain in reciprocal rank over raw of the choosing procedure, with its 95% interval.
            None if there were too few pairs for a trial.
        table: one row per candidate; see `select`.
        reason: the reason in words.
    """

    method: str
    params: Params
    gain: Interval | None
    table: list[dict[str, Any]]
    reason: str


@dataclass(frozen=True)
class Selection:
    """The chosen correction, fitted to the whole gallery, with the fields of `Choice`."""

    correction: Correction
    method: str
    params: Params
    gain: Interval | None
    table: list[dict[str, Any]]
    reason: str


def select(
    *,
    gallery: Array,
    query_bank: Array,
    gallery_bank: Array,
    queries: Array,
    relevant: Any,
    gallery_ids: Any = None,
    query_bank_ids: Any = None,
    gallery_bank_ids: Any = None,
    exclude: Any = None,
    methods: Iterable[Spec] | None = None,
    seed: int = 0,
) -> Selection:
    """Choose a method and its parameters on pairs, and fit them to the gallery.

    With more than 2,000 queries or 10,000 items, the choice is made on a random sample of them.
    The result is deterministic for a `seed`.

    Args:
        gallery: items, (n, d).
        query_bank: bank queries, (b, d).
        gallery_bank: bank items, (h, d).
        queries: queries of the pairs, (m, d).
        relevant: the relevant gallery rows of each query: an (m,) integer array, or a sequence of
            m lists of rows. Queries without relevant rows are left out.
        gallery_ids: ids (n,) of samples or duplicate clusters. Give all ids if banks and pairs
            may overlap: bank rows of a query's own sample are then masked.
        query_bank_ids: ids (b,) of the bank queries.
        gallery_bank_ids: ids (h,) of the bank items.
        exclude: (m,) a gallery row that is removed from that query's ranking, or -1. Use it for
            a query that is itself an item of the gallery.
        methods: names, each tried with its grid of parameters, or (name, parameters) pairs.
            All methods by default.
        seed: seed of all random draws.

    Returns:
        The fitted correction and the reason for it. The rows of `table` have the keys method,
        params, mrr, r@1, k_skewness and gain (mean, low and high over raw, at 95%).

    Raises:
        InputError: as `fit` does, and if `relevant` or `exclude` does not fit queries and gallery.
    """
    choice = choose_method(
        gallery=gallery,
        query_bank=query_bank,
        gallery_bank=gallery_bank,
        queries=queries,
        relevant=relevant,
        gallery_ids=gallery_ids,
        query_bank_ids=query_bank_ids,
        gallery_bank_ids=gallery_bank_ids,
        exclude=exclude,
        methods=methods,
        seed=seed,
    )
    correction = fit(
        choice.method,
        gallery=gallery,
        query_bank=query_bank,
        gallery_bank=gallery_bank,
        gallery_ids=gallery_ids,
        query_bank_ids=query_bank_ids,
        gallery_bank_ids=gallery_bank_ids,
        **choice.params,
    )
    return Selection(correction=correction, **vars(choice))


@one_blas_thread()  # hundreds of small products: more threads would only slow them down
def choose_method(
    *,
    gallery: Array,
    query_bank: Array,
    gallery_bank: Array,
    queries: Array,
    relevant: Any,
    gallery_ids: Any = None,
    query_bank_ids: Any = None,
    gallery_bank_ids: Any = None,
    exclude: Any = None,
    methods: Iterable[Spec] | None = None,
    seed: int = 0,
) -> Choice:
    """Choose a method and its parameters as `select` does, without fitting them to the gallery."""
    candidates = candidate_recipes(CANDIDATES if methods is None else methods)
    rng = np.random.default_rng(seed)
    items = as_matrix(gallery, "gallery").shape[0]
    right = Relevant.of(relevant, items)
    query_rows = as_matrix(queries, "queries")
    if len(right.count) != query_rows.shape[0]:
        raise InputError(
            f"relevant has {len(right.count)} entries for {query_rows.shape[0]} queries: give the"
            " relevant gallery rows of each query"
        )
    pairs = int((right.count > 0).sum())
    if pairs < LEAST_PAIRS:
        reason = f"raw, because {pairs} pairs are too few to choose on (at least {LEAST_PAIRS})"
        return Choice("none", {}, None, [], reason)
    samples = sample_pairs(
        rng,
        gallery=gallery,
        query_bank=query_bank,
        gallery_bank=gallery_bank,
        queries=query_rows,
        relevant=right,
        gallery_ids=gallery_ids,
        query_bank_ids=query_bank_ids,
        gallery_bank_ids=gallery_bank_ids,
        exclude=None if exclude is None else check_exclude(exclude, right, items),
    )
    trial = cross_fit([r.spec for r in candidates], samples, FOLDS, rng)
    return _decide(candidates, trial, seed)


def _decide(candidates: list[Recipe], trial: Trial, seed: int) -> Choice:
    """The best candidate on all folds if choosing shows a gain over raw, else raw."""
    table = _table(candidates, trial, seed)
    best = candidates[best_candidate(trial, np.ones(FOLDS, dtype=bool))]
    held_out = np.empty(trial.fold.size)  # reciprocal ranks of what the other nine folds choose
    for f in range(FOLDS):
        in_fold = trial.fold == f
        held_out[in_fold] = trial.reciprocal_ranks[
            best_candidate(trial, np.arange(FOLDS) != f), in_fold
        ]
    compared = (held_out, trial.reciprocal_ranks[0])
    gain = paired_bootstrap(*compared, groups=trial.groups, seed=seed)
    narrow = paired_bootstrap(*compared, groups=trial.groups, seed=seed, level=CONFIDENCE)
    figures = (
        f"{gain.mean:+.4f} in mean reciprocal rank on held-out pairs, "
        f"95% interval {gain.low:+.4f} to {gain.high:+.4f}, {trial.fold.size} pairs"
    )
    if best.name == "none":
        reason = "raw, because no correction was better on the pairs"
    elif gain.high < 0:
        reason = f"raw, because correcting makes the ranking worse: {figures}"
    elif narrow.low <= 0:
        reason = f"raw, because the gain is not certain: {figures}"
    else:
        return Choice(best.name, best.params, gain, table, f"{best.name} gains {figures}")
    return Choice("none", {}, gain, table, reason)


def candidate_recipes(methods: Iterable[Spec]) -> list[Recipe]:
    """Raw, then every setting to try. A bare name gives one recipe per setting of its grid; a
    composition takes the grid of its last method."""
    recipes = [recipe("none")]
    for spec in methods:
        if not isinstance(spec, str):
            recipes.append(recipe(*spec))
            continue
        last = spec.split("+")[-1].strip()
        grid = METHODS[last].grid if last in METHODS else ({},)
        prefix = f"{last}__" if "+" in spec else ""
        recipes += [recipe(spec, {prefix + p: v for p, v in s.items()}) for s in grid]
    return recipes


def best_candidate(trial: Trial, folds: np.ndarray) -> int:
    """The index of the best candidate.

    Args:
        trial: the results of all candidates.
        folds: (folds,) bool, the folds that may be used.
    """
    used = folds[trial.fold]
    mrr = trial.reciprocal_ranks[:, used].mean(axis=1)
    near = np.flatnonzero(mrr >= mrr.max() - NEAR_TIE)
    skew = [skewness(trial.k_occurrence[i, folds].sum(axis=0)) for i in near]
    return int(near[np.argmin(skew)])


def _table(candidates: list[Recipe], trial: Trial, seed: int) -> list[dict[str, Any]]:
    raw = trial.reciprocal_ranks[0]
    changes = {str(i): ranks - raw for i, ranks in enumerate(trial.reciprocal_ranks)}
    gains = bootstrap_many(changes, groups=trial.groups, seed=seed)
    return [
        {
            "method": r.name,
            "params": r.params,
            "mrr": float(ranks.mean()),
            "r@1": float((ranks == 1).mean()),
            "k_skewness": skewness(counts.sum(axis=0)),
            "gain": gain,
        }
        for r, ranks, counts, gain in zip(
            candidates, trial.reciprocal_ranks, trial.k_occurrence, gains.values(), strict=True
        )
    ]
