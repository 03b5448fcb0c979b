"""Old and re-embedded items in one gallery: the figures of docs/retrieval.md.

    python -m benchmarks.migrated clip_coco500.npy
    python -m benchmarks.migrated --stamps demo --halvings 2 --model "linear, noise 0.3"

Queries are encoded by the newer model and bridged (`benchmarks.bridge`). A share of the items, at
random, is re-embedded by the newer model too, and brought into the old space by the bridge of texts
or, as *own*, by one that is learned from the bank's items in both spaces. *Re-embedded* is a search
of the new space itself. A correction is fitted to the gallery as it is, on bridged queries of the
bank. Figures are R@10 of several halvings, and what is retained of 0% migrated.
"""

import argparse
from collections.abc import Iterator
from itertools import product

import numpy as np

from benchmarks.bridge import MODELS, SEEDS, Model
from benchmarks.feature_sets import Pairs, add_arguments, read_file, read_stamps
from embedders.alignment.bridge import Rows
from embedders.projection import Projection
from pipelines.bridge.choose import text_bridge
from pipelines.bridge.report import retained
from store.corrections import fit
from store.corrections.evaluate import evaluate

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
FULL = "re-embedded"
METHODS = ("none", "nnn")
Values = dict[tuple[str, str, str], list[np.ndarray]]


def found(method: str, queries: np.ndarray, gallery: np.ndarray, bank: Pairs, clusters: np.ndarray):
    """(m,) 1 if a right answer is among the best ten of the gallery, else 0."""
    fitted = fit(method, gallery=gallery, query_bank=bank.queries, gallery_bank=bank.gallery)
    relevant = [np.flatnonzero(clusters == cluster) for cluster in clusters]
    return evaluate(fitted, queries, relevant).measures()["r@10"]


def halving(pairs: Pairs, seed: int, model: Model, values: Values) -> None:
    """Add the figures of one halving to `values`, by method, bridge of items and share."""
    is_text = pairs.name.partition(", ")[2].startswith("text")
    bank, test = pairs.halves(seed)
    number = iter(range(5 * seed, 5 * seed + 5))  # of the noise of each set of vectors
    new = {
        name: model(rows, next(number))
        for name, rows in (
            ("bank queries", bank.queries), ("bank items", bank.gallery),
            ("queries", test.queries), ("items", test.gallery),
        )
    }  # fmt: skip
    queries, items = (bank.queries, "bank queries"), (bank.gallery, "bank items")
    texts = queries if is_text else items
    bridge, own_bridge = (_bridge(old, new[name]) for old, name in (texts, items))
    order = np.random.default_rng(seed).permutation(len(test.gallery))
    bank_order = np.random.default_rng(seed + 100).permutation(len(bank.gallery))
    for method, item_bridge in product(METHODS, (bridge, own_bridge)):
        by = "texts" if item_bridge is bridge else "own"
        for share in SHARES:
            gallery, banked = test.gallery.copy(), bank.gallery.copy()
            moved = order[: round(share * len(order))]
            gallery[moved] = item_bridge(new["items"][moved]) if len(moved) else gallery[moved]
            moved = bank_order[: round(share * len(bank_order))]
            banked[moved] = item_bridge(new["bank items"][moved]) if len(moved) else banked[moved]
            own = Pairs("", bridge(new["bank queries"]), banked, bank.clusters)
            values.setdefault((method, by, f"{share:.0%}"), []).append(
                found(method, bridge(new["queries"]), gallery, own, test.clusters)
            )
        own = Pairs("", new["bank queries"], new["bank items"], bank.clusters)
        values.setdefault((method, by, FULL), []).append(
            found(method, new["queries"], new["items"], own, test.clusters)
        )


def _bridge(old: np.ndarray, new: np.ndarray) -> Projection:
    """The bridge that is learned from rows in both spaces; a fifth of them chooses it."""
    cut = len(new) * 4 // 5
    return text_bridge([Rows(new[:cut], old[:cut])], Rows(new[cut:], old[cut:])).projection


def table(pairs: Pairs, halvings: int, models: dict[str, Model]) -> Iterator[str]:
    """The rows of one direction."""
    for name, model in models.items():
        values: Values = {}
        clusters = []
        for seed in range(halvings):
            halving(pairs, seed, model, values)
            clusters.append(pairs.halves(seed)[1].clusters)
        joined = {key: np.concatenate(each) for key, each in values.items()}
        for method, by in product(METHODS, ("texts", "own")):
            own = {share: v for (*key, share), v in joined.items() if key == [method, by]}
            cells = [f"{own['0%'].mean():.3f}"]
            for share in [*(f"{s:.0%}" for s in SHARES[1:]), FULL]:
                kept = retained(own[share], own["0%"], np.concatenate(clusters))
                cells.append(f"{kept['mean']:.3f} ({kept['low']:.3f} to {kept['high']:.3f})")
            yield f"| {pairs.name} | {name} | {by} | {method} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--halvings", type=int, default=SEEDS)
    parser.add_argument("--model", choices=MODELS, help="one newer model alone")
    options = parser.parse_args()
    models = {options.model: MODELS[options.model]} if options.model else MODELS
    sets = [pairs for path in options.features for pairs in read_file(path)]
    sets += list(read_stamps(options.stamps)) if options.stamps else []
    shares = " | ".join(f"{share:.0%}" for share in SHARES[1:])
    print(f"| set | newer model | items by | correction | 0%: R@10 | {shares} | {FULL} |")
    print("|" + "---|" * (5 + len(SHARES)))
    for pairs in sets:
        for row in table(pairs, options.halvings, models):
            print(row, flush=True)


if __name__ == "__main__":
    main()
