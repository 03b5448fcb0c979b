"""Measure the gain of corrections on real features, and what bad banks do.

    python benchmarks/gain.py features/*.np[yz] --stamps demo --write docs/gain.md

Every file gives two directions. In each random split, half of the clusters of pairs is bank and
validation, and the other half the test, with its own gallery: the evaluation is inductive, and no
item of the test was seen. `auto` is `isotrope.select` on the first half. The oracle of a direction
is the candidate of `auto` that gains most on the tests, in hindsight.

The record of each split is appended to `--records`, and splits that are in it are not measured
again: a run that was stopped goes on. Delete the file when the corrections change.
"""

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process for each core works on a split

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import dense_methods
import numpy as np
from bad_banks import SETTINGS
from feature_sets import Pairs, add_arguments, read_file, read_stamps
from gain_page import page

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
Record = dict[str, Any]


class Split(NamedTuple):
    """One measurement: a split of a direction, in a setting of `bad_banks` or, if that is "", with
    banks as they should be."""

    setting: str
    direction: str
    seed: int

    def measure(self, pairs: Pairs) -> Record:
        record = measure_bad(pairs, self) if self.setting else measure(pairs, self.seed)
        return {**self._asdict(), **record}


def answers(queries: np.ndarray, gallery: np.ndarray) -> list[np.ndarray]:
    """The gallery rows of each query's cluster."""
    return [np.flatnonzero(gallery == c) for c in queries]


def compare(auto: np.ndarray, raw: np.ndarray, groups: np.ndarray, seed: int) -> Record:
    """The mean gain of `auto`, and whether its 95% interval is on one side of zero."""
    interval = paired_bootstrap(auto, raw, groups=groups, seed=seed)
    return {
        "gain": float((auto - raw).mean()),
        "better": bool(interval.low > 0),
        "worse": bool(interval.high < 0),
    }


def measure(pairs: Pairs, seed: int) -> Record:
    """The gain and the k-skewness of all systems on one split of a direction."""
    bank, test = pairs.halves(seed)
    banks = {
        "query_bank": bank.queries, "gallery_bank": bank.gallery,
        "query_bank_ids": bank.clusters, "gallery_bank_ids": bank.clusters,
    }  # fmt: skip
    choice = choose_method(
        gallery=bank.gallery, gallery_ids=bank.clusters, queries=bank.queries,
        relevant=answers(bank.clusters, bank.clusters), **banks,
    )  # fmt: skip
    systems = {"auto": (choice.method, choice.params)}
    systems |= {r.name: r.spec for r in DEFAULTS}
    systems |= {f"tried {i}": r.spec for i, r in enumerate(TRIED)}
    right = answers(test.clusters, test.clusters)
    fitted = fit_many(systems.values(), gallery=test.gallery, gallery_ids=test.clusters, **banks)
    results = {s: evaluate(c, test.queries, right) for s, c in zip(systems, fitted, strict=True)}
    raw = results["none"].reciprocal_ranks
    gains = {
        s: (float((e.reciprocal_ranks - raw).mean()), skewness(e.counts))
        for s, e in results.items()
    }
    relevant = Relevant.of(right, len(test.gallery))
    for system, scores in dense_scores(bank, test):
        ranks = reciprocal_rank(first_ranks(relevant_ranks(scores, relevant), relevant))
        top = np.argpartition(-scores, 10, axis=1)[:, :10]
        skew = skewness(k_occurrence(top, len(test.gallery)))
        gains[f"dense {system}"] = float((ranks - raw).mean()), skew
    return {
        "raw": float(raw.mean()),
        "chosen": choice.method,
        "systems": gains,
        **compare(results["auto"].reciprocal_ranks, raw, test.clusters, seed),
    }


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


def measure_bad(pairs: Pairs, split: Split) -> Record:
    """The gain of `auto` on one split, with bad banks or in an unusual gallery."""
    rng = np.random.default_rng(split.seed)
    case = SETTINGS[split.setting](*pairs.halves(split.seed), rng)
    choice = choose_method(**case.banks, **case.pairs)
    fitted = fit_many(
        ["none", (choice.method, choice.params)], gallery=case.gallery, **case.banks,
        gallery_ids=case.gallery_clusters,
    )  # fmt: skip
    right = answers(case.query_clusters, case.gallery_clusters)
    raw, auto = (evaluate(c, case.queries, right).reciprocal_ranks for c in fitted)
    return {"chosen": choice.method, **compare(auto, raw, case.query_clusters, split.seed)}


def measure_all(
    directions: dict[str, Pairs], splits: Iterable[Split], path: Path, jobs: int
) -> list[Record]:
    """The records of all splits; those that are missing in the file `path` are measured."""
    path.touch()
    records = {
        Split(*(record[name] for name in Split._fields)): record
        for record in map(json.loads, path.read_text().splitlines())
    }
    splits = list(splits)
    missing = [split for split in splits if split not in records]
    with ProcessPoolExecutor(jobs) as pool, path.open("a") as file:
        running = {pool.submit(s.measure, directions[s.direction]): s for s in missing}
        for count, future in enumerate(as_completed(running), 1):
            split = running[future]
            # The file keeps what a future split compares with: read back, all records are alike.
            line = json.dumps(future.result())
            records[split] = json.loads(line)
            print(line, file=file, flush=True)
            print(f"{count} of {len(missing)}: {split.direction} {split.seed} {split.setting}")
    return [records[split] for split in splits]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--bad-splits", type=int, default=3, help="splits of each bad setting")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--records", type=Path, default=Path("build/gain.jsonl"),
                        help="a file that keeps the results of splits")  # fmt: skip
    parser.add_argument("--write", type=Path, help="the Markdown file to write")
    options = parser.parse_args()
    directions = {pairs.name: pairs for path in options.features for pairs in read_file(path)}
    if options.stamps:
        directions |= {pairs.name: pairs for pairs in read_stamps(options.stamps)}
    numbers = {"": options.splits, **dict.fromkeys(SETTINGS, options.bad_splits)}
    splits = [
        Split(setting, direction, seed)
        for setting, number in numbers.items()
        for seed in range(number)
        for direction in directions
    ]
    options.records.parent.mkdir(parents=True, exist_ok=True)
    records = measure_all(directions, splits, options.records, options.jobs)
    text = page(records, [r.name for r in TRIED])
    print(text)
    if options.write:
        options.write.write_text(text)


if __name__ == "__main__":
    main()
