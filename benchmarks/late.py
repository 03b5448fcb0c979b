"""The figures of late interaction in docs/retrieval.md: texts by MiniLM's tokens.

    isotrope demo demo && echo 'late: {}' >> demo/corpus.yaml && isotrope run --corpus demo
    python -m benchmarks.late demo

Two tasks. On the demo, a caption asks for captions of drawings in the same folder. *Docstrings*:
the first paragraph of a docstring of Python's standard library asks for the rest of it, among all;
the formula is applied to arrays. Settings were chosen on one half of the queries (--half 0), and
the figures are those of the other half.
"""

import argparse
import ast
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

import isotrope
from benchmarks.retrieval import Labelled, compare
from embedders.registry import load_encoder
from store.corrections import prepare
from store.search.late import ALPHA, BANK_PARTS, BANK_TOKENS, NEAREST
from store.search.max_sim import max_sim, mixed
from store.search.search import Search
from store.tables.tokens import MOST, TokenSets, codes_of, unpack

WEIGHTS = (0.25, 0.5, 0.75, 1.0)
BASELINE = "one vector"
DEPTH = 100


def docstrings() -> dict[str, str]:
    """The rest of each docstring of the standard library, by its first paragraph."""
    found: dict[str, str] = {}
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if any(part in str(path) for part in ("/test", "site-packages", "idlelib", "lib2to3")):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                first, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
                first, rest = (" ".join(each.split()) for each in (first, rest))
                if 20 <= len(first) <= 150 and len(rest) >= 100:
                    found.setdefault(first, rest[:2000])
    return found


def encoded(texts: Sequence[str]) -> tuple[np.ndarray, TokenSets]:
    """The vectors (n, d) of texts, and their token vectors as they are stored."""
    plain, packed = (load_encoder(f"local:text{o}") for o in ("", f"?tokens={MOST}"))
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    vectors = np.zeros((len(texts), plain.dim), np.float32)
    rows: list[np.ndarray] = [vectors] * len(texts)
    for start in range(0, len(order), 32):
        own = order[start : start + 32]
        inputs = [plain.prepare(texts[n]) for n in own]
        vectors[own] = plain.encode(inputs)
        for n, tokens in zip(own, unpack(packed.encode(inputs)).split(), strict=True):
            codes = codes_of(tokens).astype(np.float32)
            rows[n] = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    return vectors, TokenSets(np.concatenate(rows), np.array([len(each) for each in rows]))


def of_docstrings(half: int) -> Iterator[str]:
    """Reciprocal ranks at `DEPTH` of the right rest."""
    texts = docstrings()
    queries, query_tokens = encoded(list(texts))
    items, item_tokens = encoded(list(texts.values()))
    asked, rests = query_tokens.split(), item_tokens.split()
    chosen, others = (np.arange(len(queries))[first::2] for first in (half, 1 - half))

    def biases(sets: TokenSets, numbers: np.ndarray) -> list[np.ndarray]:
        """Those of the items' tokens, by a bank of tokens of some of the texts."""
        drawn = np.random.default_rng(0).permutation(numbers)[:BANK_PARTS]
        own = sets.split()
        bank = np.concatenate([own[n] for n in drawn])
        owners = np.repeat(drawn, sets.lengths[drawn]).astype(str)
        some = np.random.default_rng(0).permutation(len(bank))[:BANK_TOKENS]
        fitted = prepare(
            "nnn", query_bank=bank[some], gallery_bank=bank[some], query_bank_ids=owners[some],
            gallery_bank_ids=owners[some], alpha=ALPHA, k=NEAREST,
        )  # fmt: skip
        ids = np.repeat(np.arange(len(items)).astype(str), item_tokens.lengths)
        bias = fitted.apply(item_tokens.vectors, ids)[0].bias
        return np.split(bias, np.cumsum(item_tokens.lengths)[:-1])

    by_name = {
        "raw": None,
        "corrected": biases(item_tokens, np.arange(len(items))),
        "corrected by queries": biases(query_tokens, others),
    }

    def ranks(name: str, weight: float | None) -> np.ndarray:
        """(q,) reciprocal ranks."""
        bias, found = by_name.get(name), []
        for n in chosen:
            scores = items @ queries[n]
            listed = np.argsort(-scores, kind="stable")[:DEPTH]
            if weight is not None:
                rows = np.concatenate([rests[i] for i in listed])
                sets = TokenSets(rows, item_tokens.lengths[listed])
                own = None if bias is None else np.concatenate([bias[i] for i in listed])
                score = mixed(scores[listed], max_sim(asked[n], sets, own), weight)
                listed = listed[np.argsort(-score, kind="stable")]
            place = np.flatnonzero(listed == n)
            found.append(1 / (1 + place[0]) if len(place) else 0.0)
        return np.array(found)

    yield from compare(f"docstrings, {len(items):,}", variants(ranks, list(by_name)), BASELINE)


def of_demo(corpus: "isotrope.Corpus", half: int) -> Iterator[str]:
    """Average precision at 100 of captions of the same folder."""
    own = Labelled(corpus, "text")
    own.queries = own.queries[half::2]

    def precisions(name: str, weight: float | None) -> np.ndarray:
        def search(part: str) -> Search:
            query = corpus.search(ids=part).among("text")
            query = query.correct("none" if name == "raw" else "auto")
            return query if weight is None else query.late(DEPTH, weight)

        return own.precisions(search, lambda part: own.labels[part])

    yield from compare("demo, folder", variants(precisions, ["raw", "corrected"]), BASELINE)


def variants(
    measure: Callable[[str, float | None], np.ndarray], names: Sequence[str]
) -> dict[str, Callable[[], np.ndarray]]:
    """Search by one vector, and late interaction by raw and corrected MaxSim with each weight."""
    made: dict[str, Callable[[], np.ndarray]] = {BASELINE: lambda: measure("", None)}
    for name in names:
        for weight in WEIGHTS:
            made[f"{name}, weight {weight:g}"] = partial(measure, name, weight)
    return made


def cost(corpus: "isotrope.Corpus") -> Iterator[str]:
    """Bytes of a caption, and times of a query."""
    table = corpus.tokens("text")
    assert table is not None
    data = sum(file.stat().st_size for file in Path(table.uri, "data").iterdir())
    yield f"{data / table.count_rows():,.0f} bytes a caption, {table.count_rows()} captions"
    search = corpus.search(text="a bird on a branch").among("text").limit(10)
    for name, query in (
        ("one vector", search),
        ("late(100), raw", search.correct("none").late(100)),
        ("late(100)", search.late(100)),
        ("late(500)", search.late(500)),
    ):
        query.run()
        seconds = []
        for _ in range(20):
            started = time.perf_counter()
            query.run()
            seconds.append(time.perf_counter() - started)
        yield f"{name}: {1000 * float(np.median(seconds)):.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--only", choices=("demo", "docstrings", "cost"))
    options = parser.parse_args()
    corpus = isotrope.connect(str(options.corpus))
    tasks: dict[str, Callable[[], Iterator[str]]] = {
        "demo": lambda: of_demo(corpus, options.half),
        "docstrings": lambda: of_docstrings(options.half),
        "cost": lambda: cost(corpus),
    }
    print("| search | system | mAP@100 or MRR | gain | ms a query |\n|---|---|---|---|---|")
    for name, task in tasks.items():
        if options.only in (None, name):
            for line in task():
                print(line, flush=True)


if __name__ == "__main__":
    main()
