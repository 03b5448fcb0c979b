"""Choose a correction on held-out pairs. This is the setting `auto` of a direction.

Each candidate (a method with its parameters) is measured by its mean reciprocal rank on pairs that
the banks have not seen (`store.corrections.crossfit`), and `store.corrections.decision` chooses
among them. The default is NNN at half strength, which helps in nearly every space and harms in
nearly none. Banks of another origin than the pairs' queries (`own_bank` is False), and banks of few
rows, get no such credit: there raw is the default, and the gain must be shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from store.corrections.candidates import CANDIDATES, candidate_recipes, usable
from store.corrections.correction import Correction
from store.corrections.crossfit import cross_fit, draw_rounds
from store.corrections.decision import Outcome, decide, lower_end
from store.corrections.evaluate import check_exclude
from store.corrections.fit import Spec, fit
from store.corrections.kernels.arrays import Array, as_matrix
from store.corrections.kernels.threads import one_blas_thread
from store.corrections.method import Params
from store.corrections.recipe import recipe
from store.corrections.trial_samples import infer_ids, sample_banks, sample_pairs
from store.errors import InputError
from store.metrics.intervals import Interval, bootstrap_many, paired_bootstrap
from store.metrics.retrieval import Relevant

LEAST_PAIRS = 20  # for a trial
LEAST_OWN_ROWS = 50  # rows of a query bank that a default is trusted on
DEFAULT = ("nnn", {"alpha": 0.5, "k": 16})


@dataclass(frozen=True)
class Choice:
    """A chosen method with its parameters, and why it was chosen.

    Attributes:
        method: name of the method or composition; "none" for raw scores.
        params: all of its parameters.
        gain: gain in reciprocal rank over raw of the choosing procedure, with its 95% interval.
            None if there were too few pairs for a trial.
        table: one row per candidate, then the average if one was chosen; see `select`.
        reason: the reason in words.
    """

    method: str
    params: Params
    gain: Interval | None
    table: list[dict[str, Any]]
    reason: str

    def fit(self, **arrays: Any) -> Correction:
        """Fit the chosen method to a gallery. Arguments are those of `store.corrections.fit`."""
        return fit(self.method, **arrays, **self.params)


@dataclass(frozen=True)
class Selection(Choice):
    """A choice, and the correction fitted to the gallery that it was made on.

    Attributes:
        correction: fitted to the whole gallery. `fit` takes the choice to another gallery.
    """

    correction: Correction


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
    own_bank: bool | None = None,
    seed: int = 0,
) -> Selection:
    """Choose a method and its parameters on pairs, and fit them to the gallery.

    With more than 2,000 queries, 4,096 items or 2,048 rows of a bank, the choice is made on a
    random sample of them.
    The result is deterministic for a `seed`.

    Args:
        gallery: items, (n, d).
        query_bank: bank queries, (b, d).
        gallery_bank: bank items, (h, d).
        queries: queries of the pairs, (m, d).
        relevant: the relevant gallery rows of each query: an (m,) integer array, or a sequence of
            m lists of rows. Queries without relevant rows are left out.
        gallery_ids: ids (n,) of samples or duplicate clusters. Give all ids if banks and pairs
            may overlap. Without any ids, rows that they have in common are found by equality.
        query_bank_ids: ids (b,) of the bank queries.
        gallery_bank_ids: ids (h,) of the bank items.
        exclude: (m,) a gallery row that is removed from that query's ranking, or -1. Use it for
            a query that is itself an item of the gallery.
        methods: names, each tried with its grid of parameters, or (name, parameters) pairs.
            All methods by default.
        own_bank: whether the query bank is of the same origin as the queries to come, such as the
            corpus's own captions. None: if the banks have ids.
        seed: seed of all random draws.

    Returns:
        The fitted correction and the reason for it; often it is an average of several candidates.
        The rows of `table` have the keys method, params, mrr, r@1, k_skewness and gain (mean, low
        and high over raw, at 95%).

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
        own_bank=own_bank,
        seed=seed,
    )
    correction = choice.fit(
        gallery=gallery,
        query_bank=query_bank,
        gallery_bank=gallery_bank,
        gallery_ids=gallery_ids,
        query_bank_ids=query_bank_ids,
        gallery_bank_ids=gallery_bank_ids,
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
    own_bank: bool | None = None,
    seed: int = 0,
) -> Choice:
    """Choose a method and its parameters as `select` does, without fitting them to the gallery."""
    rng = np.random.default_rng(seed)
    items = as_matrix(gallery, "gallery").shape[0]
    right = Relevant.of(relevant, items)
    query_rows = as_matrix(queries, "queries")
    if len(right.count) != query_rows.shape[0]:
        raise InputError(
            f"relevant has {len(right.count)} entries for {query_rows.shape[0]} queries: give the"
            " relevant gallery rows of each query"
        )
    if own_bank is None:
        own_bank = query_bank_ids is not None
    trusted = own_bank and as_matrix(query_bank, "query_bank").shape[0] >= LEAST_OWN_ROWS
    samples = infer_ids(
        sample_pairs(
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
    )
    samples = sample_banks(rng, samples)
    candidates = usable(candidate_recipes(CANDIDATES if methods is None else methods), samples)
    specs = [r.spec for r in candidates]
    wanted = recipe(*DEFAULT).spec
    default = specs.index(wanted) if trusted and wanted in specs else 0
    pairs = int((right.count > 0).sum())
    rounds = list(draw_rounds(samples, rng)) if pairs >= LEAST_PAIRS else []
    measure = partial(cross_fit, samples=samples, rounds=rounds)
    trial = measure(specs)
    if trial.groups.size < LEAST_PAIRS:
        least = f"(at least {LEAST_PAIRS})"
        reason = (
            f"{candidates[default].name}, because {pairs} pairs are too few to choose on {least}"
        )
        return Choice(*specs[default], None, [], reason)
    return _choice(decide(candidates, trial, default, measure, rng), trusted, seed)


def _choice(outcome: Outcome, trusted: bool, seed: int) -> Choice:
    """What was decided, or raw if the gain on held-out pairs speaks against it, with the reason."""
    best, trial, held_out = outcome.best, outcome.trial, outcome.held_out
    table = _table(outcome, seed)
    raw = trial.reciprocal_ranks[0]
    gain = paired_bootstrap(held_out, raw, groups=trial.groups, seed=seed)
    figures = (
        f"{gain.mean:+.4f} in mean reciprocal rank on held-out pairs, "
        f"95% interval {gain.low:+.4f} to {gain.high:+.4f}, {raw.size} pairs"
    )
    if best.name == "none":
        reason = "raw, because no correction was better on the pairs"
    elif gain.high < 0:
        reason = f"raw, because correcting makes the ranking worse: {figures}"
    elif not trusted and lower_end(held_out - raw, trial.groups) <= 0:
        reason = f"raw, because the gain is not certain: {figures}"
    else:
        return Choice(*best.spec, gain, table, f"{best.title} gains {figures}")
    return Choice("none", {}, gain, table, reason)


def _table(outcome: Outcome, seed: int) -> list[dict[str, Any]]:
    trial = outcome.trial
    raw = trial.reciprocal_ranks[0]
    changes = {str(i): ranks - raw for i, ranks in enumerate(trial.reciprocal_ranks)}
    gains = bootstrap_many(changes, groups=trial.groups, seed=seed)
    return [
        {
            "method": r.name,
            "params": r.params,
            "mrr": float(ranks.mean()),
            "r@1": float(recalled.mean()),
            "k_skewness": float(skew),
            "gain": gain,
        }
        for r, ranks, recalled, skew, gain in zip(
            outcome.tried,
            trial.reciprocal_ranks,
            trial.recalled,
            trial.k_skewness,
            gains.values(),
            strict=True,
        )
    ]
