"""Choose a correction, and harm nobody: what `auto` stands for.

Methods and parameters are compared by the mean reciprocal rank of held-out pairs, cross-fitted:
what is chosen on nine folds is judged on the tenth. Among those that are nearly as good as the
best, the one with the least skewed k-occurrence wins. Raw is the answer unless the choice has
shown a gain over it that chance does not explain.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from store.corrections.correction import Correction
from store.corrections.crossfit import Samples, Trial, run
from store.corrections.evaluate import as_excluded
from store.corrections.fit import Spec, fit
from store.corrections.kernels.arrays import Array, as_matrix, to_numpy
from store.corrections.kernels.masks import as_ids
from store.corrections.kernels.threads import one_blas_thread
from store.corrections.method import Params
from store.corrections.recipe import METHODS, Recipe, recipe
from store.errors import InputError
from store.metrics.hubness import skewness
from store.metrics.intervals import Interval, bootstrap_many, paired_bootstrap
from store.metrics.retrieval import Relevant

FOLDS = 10
LEAST_PAIRS = 100
NEAR_TIE = 0.005  # of mean reciprocal rank
CONFIDENCE = 0.5  # of the interval that must lie above zero: three chances in four of a gain
MOST_QUERIES, MOST_ITEMS = 2_000, 10_000  # beyond that a choice takes minutes and is no surer

CANDIDATES = (*(name for name in METHODS if name != "none"), "invgc_local+nnn",
              "invgc_local+inverted_softmax")  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """The chosen correction, fitted to the whole gallery, and why it was chosen."""

    correction: Correction
    method: str
    params: Params
    gain: Interval | None  # in reciprocal rank over raw, of choosing so; None without a trial
    table: list[dict[str, Any]]  # every setting tried; see `select`
    reason: str


@one_blas_thread()  # hundreds of small products, which several threads each would only hold up
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
    """Choose method and parameters on pairs: queries (m, d) with their right gallery rows.

    `relevant` is an (m,) integer array or a sequence of m lists of rows; queries without a right
    row are left out. Ids, of samples or duplicate clusters, let banks and pairs overlap: give
    them wherever they might. `exclude` (m,) is a gallery row, or -1, that is left out of a query's
    ranking: the query itself, where it is searched for among its own kind. `methods` are names,
    each tried at its usual settings, or (name, parameters); all by default. On more than 2,000
    queries or 10,000 items the choice is made on a random part of them. Deterministic by `seed`.

    Rows of `table`: method, params, mrr, r@1, k_skewness, gain (mean, low, high over raw at 95%).
    Raises InputError as `fit` does, and where `relevant` does not fit queries and gallery.
    """
    banks = {
        "query_bank": query_bank,
        "gallery_bank": gallery_bank,
        "query_bank_ids": query_bank_ids,
        "gallery_bank_ids": gallery_bank_ids,
    }

    def chosen(
        method: str, params: Params, gain: Interval | None, table: list[dict[str, Any]], reason: str
    ) -> Selection:
        c = fit(method, gallery=gallery, gallery_ids=gallery_ids, **banks, **params)
        return Selection(c, c.method, c.params, gain, table, reason)

    specs = settings(CANDIDATES if methods is None else methods)
    rng = np.random.default_rng(seed)
    items = as_matrix(gallery, "gallery").shape[0]
    right = Relevant.of(relevant, items)
    asked = as_matrix(queries, "queries")
    if len(right.count) != asked.shape[0]:
        raise InputError(f"relevant has {len(right.count)} entries for {asked.shape[0]} queries")
    pairs = int((right.count > 0).sum())
    if pairs < LEAST_PAIRS:
        return chosen(
            "none", {}, None, [],
            f"raw, because {pairs} pairs are too few to choose on: it takes {LEAST_PAIRS}",
        )  # fmt: skip
    left_out = None if exclude is None else as_excluded(exclude, right, items)
    samples = _sample(gallery, asked, right, gallery_ids, banks, left_out, rng)
    trial = run([r.spec for r in specs], samples, FOLDS, rng)
    table = _table(specs, trial, seed)
    everything = np.ones(FOLDS, dtype=bool)
    best = specs[choose(trial, everything)]
    outcome = np.empty(trial.fold.size)
    for f in range(FOLDS):
        mine = trial.fold == f
        outcome[mine] = trial.reciprocal[choose(trial, np.arange(FOLDS) != f), mine]
    gains = (outcome, trial.reciprocal[0])
    gain = paired_bootstrap(*gains, groups=trial.groups, seed=seed)
    sure = paired_bootstrap(*gains, groups=trial.groups, seed=seed, level=CONFIDENCE)
    figures = (
        f"{gain.mean:+.4f} in mean reciprocal rank on held-out pairs, "
        f"95% interval {gain.low:+.4f} to {gain.high:+.4f}, {trial.fold.size} pairs"
    )
    if best.name == "none":
        return chosen("none", {}, gain, table, "raw, because no correction was better on the pairs")
    if gain.high < 0:
        return chosen("none", {}, gain, table, f"raw, because correcting does harm: {figures}")
    if sure.low <= 0:
        return chosen("none", {}, gain, table, f"raw, because there is no sure gain: {figures}")
    return chosen(best.name, best.params, gain, table, f"{best.name} gains {figures}")


def settings(methods: Iterable[Spec]) -> list[Recipe]:
    """Raw, then every setting to try: a bare name stands for the grid of its last part."""
    recipes = [recipe("none")]
    for spec in methods:
        if not isinstance(spec, str):
            recipes.append(recipe(*spec))
        elif "+" in spec:
            last = spec.split("+")[-1].strip()
            grid = METHODS[last].grid if last in METHODS else ({},)
            recipes += [recipe(spec, {f"{last}__{p}": v for p, v in s.items()}) for s in grid]
        else:
            recipes += [recipe(spec, s) for s in (METHODS[spec].grid if spec in METHODS else ({},))]
    return recipes


def choose(trial: Trial, folds: np.ndarray) -> int:
    """The number of the best setting, judged on some folds alone."""
    inside = folds[trial.fold]
    mrr = trial.reciprocal[:, inside].mean(axis=1)
    near = np.flatnonzero(mrr >= mrr.max() - NEAR_TIE)
    skew = [skewness(trial.counts[i, folds].sum(axis=0)) for i in near]
    return int(near[np.argmin(skew)])


def _table(specs: list[Recipe], trial: Trial, seed: int) -> list[dict[str, Any]]:
    changes = {str(i): rr - trial.reciprocal[0] for i, rr in enumerate(trial.reciprocal)}
    gains = bootstrap_many(changes, groups=trial.groups, seed=seed)
    return [
        {
            "method": r.name,
            "params": r.params,
            "mrr": float(rr.mean()),
            "r@1": float((rr == 1).mean()),
            "k_skewness": skewness(counts.sum(axis=0)),
            "gain": gain,
        }
        for r, rr, counts, gain in zip(
            specs, trial.reciprocal, trial.counts, gains.values(), strict=True
        )
    ]


def _sample(
    gallery: Array,
    queries: Array,
    right: Relevant,
    gallery_ids: Any,
    banks: dict[str, Any],
    exclude: np.ndarray | None,
    rng: np.random.Generator,
) -> Samples:
    """Queries that have right rows, and a gallery of those rows and others, bounded in size."""
    asked = np.flatnonzero(right.count > 0)
    if asked.size > MOST_QUERIES:
        asked = np.sort(rng.choice(asked, MOST_QUERIES, replace=False))
    inside = np.isin(right.query, asked)
    answers = np.unique(right.rows[inside])
    others = np.setdiff1d(np.arange(gallery.shape[0]), answers)
    room = max(MOST_ITEMS - answers.size, 0)
    if others.size > room:
        others = rng.choice(others, room, replace=False)
    items = np.sort(np.concatenate([answers, others]))
    own = None
    if exclude is not None:
        own = np.searchsorted(items, exclude[asked])
        own[items[np.minimum(own, items.size - 1)] != exclude[asked]] = -1
    ids = as_ids(gallery_ids, gallery.shape[0], "gallery_ids")
    query_bank, gallery_bank = (to_numpy(banks[n]) for n in ("query_bank", "gallery_bank"))
    return Samples(
        gallery=to_numpy(gallery[items]),
        query_bank=query_bank,
        gallery_bank=gallery_bank,
        queries=to_numpy(queries[asked]),
        relevant=Relevant(
            np.searchsorted(asked, right.query[inside]),
            np.searchsorted(items, right.rows[inside]),
            right.count[asked],
        ),
        gallery_ids=None if ids is None else ids[items],
        query_bank_ids=as_ids(banks["query_bank_ids"], len(query_bank), "query_bank_ids"),
        gallery_bank_ids=as_ids(banks["gallery_bank_ids"], len(gallery_bank), "gallery_bank_ids"),
        exclude=own,
    )
