"""The page about the gain of corrections, from the records of `benchmarks/gain.py`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

INTRODUCTION = """\
# What correction gains

Written by

    isotrope demo demo
    python benchmarks/gain.py FEATURES --stamps demo --write docs/gain.md

where FEATURES are the files `clip_coco500.npy`, `clip_fashion1000.npz` and
`e5_emoji_en_de1000.npz`. In each of {splits} random splits, half of the clusters of pairs is
bank and validation and the other half the test, with a gallery of its own: no test item was seen
before. `auto` chooses on the first half. The oracle is the candidate of `auto` that gains most on
the tests of a direction, known in hindsight only. Gains are in mean reciprocal rank over raw.
A split is surely worse if the 95% interval of its gain is below zero.

The files of features are CLIP vectors of photographs with captions (`clip_coco`) and of clothing
(`clip_fashion`), and E5 vectors of descriptions in two languages (`e5_emoji_en_de`). `stamps` are
those of `isotrope demo` in the local space, whose heads were trained on half of them.
"""
DEVIATION = """\
The deviation is the standard deviation of the oracle's gain over the splits. The pairs that `auto`
chooses on are as many as those of a test, so it measures gains as inexactly. Where the oracle gains
hardly more than a deviation, as on the stamps text to image, the best of many candidates cannot be
told from the others, and `auto` keeps less.
"""
DENSE = """\
The rows `dense` need the matrix of queries and gallery (`benchmarks/dense_methods.py`).
Transductive ones also use all test queries, which no release knows: they are bounds, not
competitors.
"""
BAD = """\
`auto` chooses and is fitted with the banks and pairs of the setting (`benchmarks/bad_banks.py`);
the test is a half that it has not seen, as above.
"""
Record = dict[str, Any]


class Direction:
    """The records of all splits of one direction.

    Attributes:
        name: of the direction.
        gains, skews: the mean over the splits, by system.
        oracle: the candidate with the largest gain.
        deviation: standard deviation of the oracle's gain over the splits.
    """

    def __init__(self, name: str, records: Sequence[Record]):
        self.name, self.records = name, records
        means = {
            system: np.mean([r["systems"][system] for r in records], axis=0)
            for system in records[0]["systems"]
        }
        self.gains = {system: float(mean[0]) for system, mean in means.items()}
        self.skews = {system: float(mean[1]) for system, mean in means.items()}
        self.oracle = max((s for s in means if is_candidate(s)), key=lambda s: self.gains[s])
        self.deviation = float(np.std([r["systems"][self.oracle][0] for r in records]))

    def count(self, key: str) -> int:
        return sum(record[key] for record in self.records)


def is_candidate(system: str) -> bool:
    """Whether it is a candidate of `auto`, "tried" and its number."""
    return system.startswith("tried ")


def page(records: Iterable[Record], candidates: Sequence[str]) -> str:
    """The page in Markdown.

    Args:
        records: of all splits.
        candidates: names of the candidates of `auto`, by their numbers.
    """
    by_setting: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        by_direction = by_setting.setdefault(record["setting"], {})
        by_direction.setdefault(record["direction"], []).append(record)
    good = [Direction(name, rows) for name, rows in by_setting.pop("", {}).items()]
    parts = []
    if good:
        parts += [INTRODUCTION.format(splits=len(good[0].records)), headline(good)]
        parts += [by_direction_table(good, candidates), DEVIATION]
        parts += [by_method_table(good), DENSE]
    if by_setting:
        title, table = bad_table(by_setting).split("\n\n", 1)
        parts += [title + "\n", BAD, table, *surely_worse(by_setting)]
    return "\n".join(parts)


def headline(directions: Sequence[Direction]) -> str:
    auto = np.mean([d.gains["auto"] for d in directions])
    oracle = np.mean([d.gains[d.oracle] for d in directions])
    worse = sum(d.count("worse") for d in directions)
    splits = sum(len(d.records) for d in directions)
    return (
        f"**`auto` gains {auto:+.4f} on average, {auto / oracle:.0%} of the oracle's {oracle:+.4f}."
        f" {worse} of {splits} splits are surely worse than raw.**\n"
    )


def by_direction_table(directions: Sequence[Direction], candidates: Sequence[str]) -> str:
    header = ["direction", "raw MRR", "auto", "oracle", "deviation", "kept", "surely better",
              "surely worse", "skewness, raw", "auto", "oracle's method", "chosen"]  # fmt: skip
    rows = []
    for d in directions:
        auto, oracle = d.gains["auto"], d.gains[d.oracle]
        chosen = Counter(record["chosen"] for record in d.records).most_common(3)
        rows.append([
            d.name, f"{np.mean([r['raw'] for r in d.records]):.3f}", f"{auto:+.4f}",
            f"{oracle:+.4f}", f"{d.deviation:.4f}", f"{auto / oracle:.0%}", str(d.count("better")),
            str(d.count("worse")), f"{d.skews['none']:.2f}", f"{d.skews['auto']:.2f}",
            candidates[int(d.oracle.split()[1])], ", ".join(f"{m} {n}" for m, n in chosen),
        ])  # fmt: skip
    return markdown("By direction", header, rows)


def by_method_table(directions: Sequence[Direction]) -> str:
    header = ["method", "mean", *(d.name for d in directions), "skewness"]
    rows = []
    systems = [s for s in directions[0].gains if s != "none" and not is_candidate(s)]
    mean = {s: np.mean([d.gains[s] for d in directions]) for s in systems}
    for system in sorted(systems, key=lambda s: -mean[s]):
        gains = (mean[system], *(d.gains[system] for d in directions))
        skew = np.mean([d.skews[system] for d in directions])
        rows.append([system, *(f"{gain:+.3f}" for gain in gains), f"{skew:.2f}"])
    return markdown("By method, at its defaults", header, rows)


def bad_table(by_setting: dict[str, dict[str, list[Record]]]) -> str:
    header = ["setting", "gain of auto", "worst direction", "surely worse", "stayed raw", "splits"]
    return markdown("Bad banks, wrong pairs, other galleries", header, _bad_rows(by_setting))


def _bad_rows(by_setting: dict[str, dict[str, list[Record]]]) -> Iterator[list[str]]:
    for setting, by_direction in by_setting.items():
        gains = [np.mean([r["gain"] for r in records]) for records in by_direction.values()]
        records = [r for records in by_direction.values() for r in records]
        yield [
            setting, f"{np.mean(gains):+.4f}", f"{min(gains):+.4f}",
            str(sum(r["worse"] for r in records)),
            str(sum(r["chosen"] == "none" for r in records)), str(len(records)),
        ]  # fmt: skip


def surely_worse(by_setting: dict[str, dict[str, list[Record]]]) -> Iterator[str]:
    """A list of the splits that are surely worse than raw."""
    records = [r for rows in by_setting.values() for x in rows.values() for r in x if r["worse"]]
    if records:
        yield "Surely worse, with the gain and what was chosen:\n"
    for r in records:
        where = f"{r['setting']}: {r['direction']}, split {r['seed']}"
        yield f"- {where}: {r['gain']:+.4f}, {r['chosen']}"
    if records:
        yield ""


def markdown(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a heading."""
    lines = [header, ["---"] * len(header), *rows]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
