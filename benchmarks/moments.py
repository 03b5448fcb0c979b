"""The figures of moments and of the router in docs/retrieval.md, on planted moments of real media.

    isotrope demo demo
    python -m benchmarks.planted_moments demo planted && isotrope run --corpus planted
    python -m benchmarks.moments planted

*Found*: reciprocal rank of the recording or collage with the planted sound or image, among all of
its modality. *Located*: whether it is in the first ten, with the right quarter as its box, or with
a window that overlaps the sound by half of it or of the window. *Routed*: captions whose answer is
an image, a tile, a recording or a window; the oracle knows which. What was tried was chosen on one
half of the queries (--half 0), and the figures are those of the other half.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import isotrope
from benchmarks.retrieval import compare
from store.metrics.intervals import paired_bootstrap
from store.search.encode import encode_queries
from store.search.router import routes
from store.search.search import Search

LIMIT, FIRST = 100, 10
Answer = dict[str, Any]
Score = Callable[[Answer, list[dict[str, Any]]], float]


class Planted:
    """A corpus of `benchmarks.planted_moments` and the answers of one half of its queries."""

    def __init__(self, folder: Path, half: int):
        self.corpus, self.folder = isotrope.connect(str(folder)), folder
        answers = json.loads((folder / "answers.json").read_text())[half::2]
        keys = set()
        for modality in ("image", "audio"):
            rows = self.corpus.gallery_dataset(modality).to_table(columns=["key"])
            keys |= set(rows["key"].to_pylist())
        self.answers: list[Answer] = [answer for answer in answers if answer["key"] in keys]

    def of(self, modality: str, level: str) -> list[Answer]:
        """The answers of one kind."""
        kind = (modality, level)
        return [answer for answer in self.answers if (answer["modality"], answer["level"]) == kind]

    def by_text(self, answer: Answer) -> Search:
        return self.corpus.search(text=answer["text"])

    def by_medium(self, answer: Answer) -> Search:
        file = self.folder / "queries" / answer["query"]
        return self.corpus.search(**{answer["modality"]: file})


def reciprocal_rank(answer: Answer, rows: list[dict[str, Any]]) -> float:
    """That of the right key; 0 beyond the list."""
    places = [n for n, row in enumerate(rows) if row["key"] == answer["key"]]
    return 1 / (1 + places[0]) if places else 0.0


def is_located(answer: Answer, rows: list[dict[str, Any]]) -> float:
    """Whether the first rows have the right key with the right span."""
    for row in rows[:FIRST]:
        if row["key"] != answer["key"]:
            continue
        if answer["modality"] == "image":
            left, top, *_ = row.get("_box") or (-1, -1)
            return float(answer["quarter"] == 4 * top + 2 * left)
        if row.get("_start") is None:
            return 0.0
        start, end = max(row["_start"], answer["start"]), min(row["_end"], answer["end"])
        shorter = min(row["_end"] - row["_start"], answer["end"] - answer["start"])
        return float(end - start >= shorter / 2)
    return 0.0


def found(planted: Planted) -> Iterator[str]:
    """Planted moments by parts and by moments."""
    for modality, asked in (
        ("audio", "text"),
        ("audio", "audio"),
        ("image", "text"),
        ("image", "image"),
    ):
        answers = planted.of(modality, "moment")
        search = planted.by_text if asked == "text" else planted.by_medium

        def measured(
            score: Score, method: str, on: bool, answers=answers, search=search, modality=modality
        ) -> np.ndarray:
            values = []
            for answer in answers:
                query = search(answer).among(modality).correct(method).moments(on).limit(LIMIT)
                values.append(score(answer, query.to_list()))
            return np.array(values)

        title = f"{asked} to {modality}, {len(answers)}"
        yield from compare(
            f"{title} found",
            {
                "raw, parts": partial(measured, reciprocal_rank, "none", False),
                "corrected, parts": partial(measured, reciprocal_rank, "auto", False),
                "raw, moments": partial(measured, reciprocal_rank, "none", True),
                "corrected, moments": partial(measured, reciprocal_rank, "auto", True),
            },
            "corrected, parts",
        )
        yield from compare(
            f"{title} located",
            {
                "raw, moments": partial(measured, is_located, "none", True),
                "corrected, moments": partial(measured, is_located, "auto", True),
            },
            "corrected, moments",
        )


def routed(planted: Planted) -> Iterator[str]:
    """Captions whose answers are in different galleries and levels."""

    def ranks(route: Callable[[Search, Answer], Search]) -> np.ndarray:
        made = [
            route(planted.by_text(answer), answer).limit(LIMIT).to_list()
            for answer in planted.answers
        ]
        pairs = zip(planted.answers, made, strict=True)
        return np.array([reciprocal_rank(*pair) for pair in pairs])

    systems: dict[str, Callable[[Search, Answer], Search]] = {
        "any": lambda query, answer: query.among("any"),
        "any, moments": lambda query, answer: query.among("any").moments(),
        "images": lambda query, answer: query.among("image"),
        "image moments": lambda query, answer: query.among("image").moments(),
        "auto": lambda query, answer: query.among("auto"),
        "oracle": lambda query, answer: query.among(answer["modality"]).moments(
            answer["level"] == "moment"
        ),
    }
    title, made = f"captions, {len(planted.answers)}", {}

    def measured(name: str) -> np.ndarray:
        made[name] = ranks(systems[name])
        return made[name]

    yield from compare(title, {name: partial(measured, name) for name in systems}, "any")
    gain = paired_bootstrap(made["auto"], made["any, moments"])
    yield f"auto over any, moments: {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"


def confusion(planted: Planted) -> Iterator[str]:
    """How many queries of each kind were routed where."""
    counts: dict[str, dict[str, int]] = {}
    for answer in planted.answers:
        query = planted.by_text(answer)
        (part,) = encode_queries(planted.corpus, query.inputs)
        best = routes(planted.corpus, query.value, part)[0]
        to = f"{best.modality}{' moment' if best.in_moments else ''}"
        own = counts.setdefault(f"{answer['modality']} {answer['level']}", {})
        own[to] = own.get(to, 0) + 1
    for kind, own in counts.items():
        yield f"| {kind} | {', '.join(f'{n} to {to}' for to, n in sorted(own.items()))} |"


def cost(planted: Planted) -> Iterator[str]:
    """Bytes of moments, times of queries, and of the first measurement of the bank's scores."""
    for modality in ("image", "audio"):
        moments = planted.corpus.open_moments(modality)
        assert moments is not None
        for table in (planted.corpus.gallery_dataset(modality), moments.table):
            data = sum(file.stat().st_size for file in Path(table.uri, "data").iterdir())
            rows = table.count_rows()
            yield f"{Path(table.uri).stem}: {rows} rows, {data / rows:,.0f} bytes a row"
    vector = planted.corpus.banks.queries("text").vectors[0]
    search = planted.corpus.search(vectors={"text": vector}).limit(10)
    queries = {
        "image": search,
        "image moments": search.moments(),
        "any": search.among("any"),
        "any, moments": search.among("any").moments(),
        "auto": search.among("auto"),
    }
    least = dict.fromkeys(queries, np.inf)
    for number in range(6):
        for name, query in queries.items():
            started = time.process_time()
            for _ in range(10 if number else 1):
                query.run()
            spent = 1000 * (time.process_time() - started)
            if not number:
                yield f"{name}: {spent:.0f} processor ms for the first query"
            else:
                least[name] = min(least[name], spent / 10)
    for name, spent in least.items():
        yield f"{name}: {spent:.1f} processor ms a query, encoded before"


TASKS: dict[str, Callable[[Planted], Iterator[str]]] = {
    "found": found,
    "routed": routed,
    "confusion": confusion,
    "cost": cost,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--only", choices=TASKS)
    options = parser.parse_args()
    planted = Planted(options.corpus, options.half)
    planted.corpus.search(text="a bird").to_list()  # loads the encoders
    for name, task in TASKS.items():
        if options.only in (None, name):
            print(f"\n## {name}\n")
            for line in task(planted):
                print(line, flush=True)


if __name__ == "__main__":
    main()
