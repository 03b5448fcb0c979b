"""Measure the gain of corrections on real features, and what bad banks do.

    python benchmarks/gain.py features/*.np[yz] --stamps demo --write docs/gain.md

Every file gives two directions. In each random split, half of the clusters of pairs is bank and
validation, and the other half the test, with its own gallery: the evaluation is inductive, and no
item of the test was seen. `auto` is `isotrope.select` on the first half. The oracle of a direction
is the candidate of `auto` that gains most on the tests, in hindsight.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process for each core works on a direction

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import dense_methods
import numpy as np
from bad_banks import SETTINGS, Setting
from feature_sets import Pairs, add_arguments, read_file, read_stamps

from store.corrections import METHODS, evaluate, fit_many
from store.corrections.candidates import CANDIDATES, candidate_recipes
from store.corrections.recipe import recipe
from store.corrections.select import choose_method
from store.metrics import paired_bootstrap
from store.metrics.hubness import k_occurrence, skewness
from store.metrics.retrieval import Relevant, first_ranks, reciprocal_rank, relevant_ranks

COMPOSITIONS = (
    "invgc_local+nnn", "centered+nnn", "centered+sinkhorn", "canonical+nnn", "canonical+sinkhorn",
)  # fmt: skip
DEFAULTS = [recipe(name) for name in (*METHODS, *COMPOSITIONS)]
TRIED = candidate_recipes(CANDIDATES)
INTRODUCTION = """\
# What correction gains

Written by `benchmarks/gain.py`. In each of {splits} random splits, half of the clusters of pairs is
bank and validation and the other half the test, with a gallery of its own: no test item was seen
before. `auto` chooses on the first half. The oracle is the candidate of `auto` that gains most on
the tests of a direction, known in hindsight only. Gains are in mean reciprocal rank over raw.
A split is surely worse if the 95% interval of its gain is below zero.

The files of features are CLIP vectors of photographs with captions (`clip_coco`) and of clothing
(`clip_fashion`), and E5 vectors of descriptions in two languages (`e5_emoji_en_de`). `stamps` are
those of `isotrope demo` in the local space, whose heads were trained on half of them."""


@dataclass
class Result:
    """The results of one direction: gains (splits, systems) and k-skewness of all systems."""

    name: str
    gains: dict[str, list[float]] = field(default_factory=dict)
    skews: dict[str, list[float]] = field(default_factory=dict)
    raw: list[float] = field(default_factory=list)
    worse: int = 0
    better: int = 0
    chosen: Counter = field(default_factory=Counter)

    def add(self, system: str, gain: float, skew: float) -> None:
        self.gains.setdefault(system, []).append(gain)
        self.skews.setdefault(system, []).append(skew)

    @property
    def oracle(self) -> str:
        return max((r for r in self.gains if r.startswith("tried")), key=lambda r: self.gain(r))

    def gain(self, system: str) -> float:
        return float(np.mean(self.gains[system]))


def answers(queries: np.ndarray, gallery: np.ndarray) -> list[np.ndarray]:
    """The gallery rows of each query's cluster."""
    return [np.flatnonzero(gallery == c) for c in queries]


def banks_of(pairs: Pairs) -> dict:
    return {
        "query_bank": pairs.queries, "gallery_bank": pairs.gallery,
        "query_bank_ids": pairs.clusters, "gallery_bank_ids": pairs.clusters,
    }  # fmt: skip


def measure(pairs: Pairs, splits: int) -> Result:
    """All systems on one direction."""
    result = Result(pairs.name)
    for seed in range(splits):
        bank, test = pairs.halves(seed)
        banks = banks_of(bank)
        choice = choose_method(
            gallery=bank.gallery, gallery_ids=bank.clusters, queries=bank.queries,
            relevant=answers(bank.clusters, bank.clusters), **banks,
        )  # fmt: skip
        systems = {"auto": (choice.method, choice.params)}
        systems |= {r.name: r.spec for r in DEFAULTS}
        systems |= {f"tried {i}": r.spec for i, r in enumerate(TRIED)}
        right = answers(test.clusters, test.clusters)
        fitted = fit_many(
            systems.values(), gallery=test.gallery, gallery_ids=test.clusters, **banks
        )
        found = {s: evaluate(c, test.queries, right) for s, c in zip(systems, fitted, strict=True)}
        raw = found["none"].reciprocal_ranks
        for system, evaluation in found.items():
            gain = float((evaluation.reciprocal_ranks - raw).mean())
            result.add(system, gain, skewness(evaluation.counts))
        for system, scores in dense_scores(bank, test):
            ranks = first_ranks(relevant_ranks(scores, Relevant.of(right, len(test.gallery))),
                                Relevant.of(right, len(test.gallery)))  # fmt: skip
            top = np.argpartition(-scores, 10, axis=1)[:, :10]
            gain = float((reciprocal_rank(ranks) - raw).mean())
            result.add(f"dense {system}", gain, skewness(k_occurrence(top, len(test.gallery))))
        interval = paired_bootstrap(
            found["auto"].reciprocal_ranks, raw, groups=test.clusters, seed=seed
        )
        result.raw.append(float(raw.mean()))
        result.worse += interval.high < 0
        result.better += interval.low > 0
        result.chosen[choice.method] += 1
    return result


def dense_scores(bank: Pairs, test: Pairs) -> Iterable[tuple[str, np.ndarray]]:
    S = test.queries @ test.gallery.T
    scores = dense_methods.dual_bank_sinkhorn(S, bank.queries, bank.gallery, test.gallery)
    yield "dual bank Sinkhorn", scores
    yield "Sinkhorn, transductive", dense_methods.sinkhorn(S)
    for label, queries in (("", bank.queries), (", transductive", test.queries)):
        T = queries @ test.gallery.T
        yield f"mutual proximity{label}", dense_methods.mutual_proximity(S, T)
        yield f"NICDM{label}", dense_methods.nicdm(S, T)
        scores = dense_methods.dis_sim_local(S, T, queries, test.gallery)
        yield f"DisSim local{label}", scores


def measure_bad(pairs: Pairs, setting: Setting, splits: int) -> tuple[list[float], int, int]:
    """Gains of `auto` in one setting; the splits that are surely worse; those that stay raw."""
    gains, worse, raw_chosen = [], 0, 0
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        case = setting(*pairs.halves(seed), rng)
        choice = choose_method(**case.banks, **case.pairs)
        fitted = fit_many(
            ["none", (choice.method, choice.params)], gallery=case.gallery, **case.banks,
            gallery_ids=case.gallery_clusters,
        )  # fmt: skip
        right = answers(case.query_clusters, case.gallery_clusters)
        raw, auto = (evaluate(c, case.queries, right).reciprocal_ranks for c in fitted)
        gains.append(float((auto - raw).mean()))
        worse += paired_bootstrap(auto, raw, groups=case.query_clusters, seed=seed).high < 0
        raw_chosen += choice.method == "none"
    return gains, worse, raw_chosen


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def tables(results: list[Result], splits: int) -> Iterable[str]:
    """The tables of the gain by direction, and by method."""
    rows, total = [], len(results) * splits
    auto, oracle = (np.mean([r.gain(s(r)) for r in results])
                    for s in (lambda r: "auto", lambda r: r.oracle))  # fmt: skip
    for r in results:
        best = TRIED[int(r.oracle.split()[1])]
        kept = r.gain("auto") / r.gain(r.oracle)
        rows.append([
            r.name, f"{np.mean(r.raw):.3f}", f"{r.gain('auto'):+.4f}", f"{r.gain(r.oracle):+.4f}",
            f"{kept:.0%}", str(r.better), str(r.worse),
            f"{np.mean(r.skews['none']):.2f}", f"{np.mean(r.skews['auto']):.2f}",
            best.name, ", ".join(f"{m} {n}" for m, n in r.chosen.most_common(3)),
        ])  # fmt: skip
    worse = sum(r.worse for r in results)
    yield (
        f"**`auto` gains {auto:+.4f} on average, {auto / oracle:.0%} of the oracle's {oracle:+.4f}."
        f" {worse} of {total} splits are surely worse than raw.**\n"
    )
    header = ["direction", "raw MRR", "auto", "oracle", "kept", "surely better", "surely worse",
              "skewness, raw", "auto", "oracle's method", "chosen"]  # fmt: skip
    yield table("By direction", header, rows)
    systems = [s for s in results[0].gains if s != "none" and not s.startswith("tried")]
    rows = []
    for system in systems:
        gains = [r.gain(system) for r in results]
        skew = np.mean([np.mean(r.skews[system]) for r in results])
        rows.append([system, *(f"{g:+.3f}" for g in (np.mean(gains), *gains)), f"{skew:.2f}"])
    rows.sort(key=lambda row: -float(row[1]))
    header = ["method", "mean", *(r.name for r in results), "skewness"]
    yield table("By method, at its defaults", header, rows)
    yield (
        "The rows `dense` need the matrix of queries and gallery (`benchmarks/dense_methods.py`)."
        " Transductive ones also use all test queries, which no release knows: they are bounds, not"
        " competitors.\n"
    )


def bad_table(
    directions: list[Pairs], labels: Iterable[str], splits: int, pool: ProcessPoolExecutor
) -> str:
    rows = []
    for label in labels:
        setting = SETTINGS[label]
        done = list(pool.map(partial(measure_bad, setting=setting, splits=splits), directions))
        gains = [np.mean(g) for g, _, _ in done]
        rows.append([
            label, f"{np.mean(gains):+.4f}", f"{min(gains):+.4f}",
            str(sum(w for _, w, _ in done)), str(sum(c for _, _, c in done)),
            str(splits * len(directions)),
        ])  # fmt: skip
        print(rows[-1], flush=True)
    header = ["setting", "gain of auto", "worst direction", "surely worse", "stayed raw", "splits"]
    return table("Bad banks, wrong pairs, other galleries", header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--bad-splits", type=int, default=3, help="splits of each bad setting")
    parser.add_argument("--bad", nargs="*", choices=SETTINGS, default=list(SETTINGS),
                        help="bad settings to run; all by default")  # fmt: skip
    parser.add_argument("--write", type=Path, help="the Markdown file to write")
    options = parser.parse_args()
    directions = [pairs for path in options.features for pairs in read_file(path)]
    if options.stamps:
        directions += read_stamps(options.stamps)
    page = [INTRODUCTION.format(splits=options.splits) + "\n"]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        if options.splits:
            results = list(pool.map(partial(measure, splits=options.splits), directions))
            page += tables(results, options.splits)
            print("\n".join(page), flush=True)
        page.append(bad_table(directions, options.bad, options.bad_splits, pool))
    if options.write:
        options.write.write_text("\n".join(page))


if __name__ == "__main__":
    main()
