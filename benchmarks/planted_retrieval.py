"""Planted releases on which the right answers of each system are known."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import isotrope
from tests.helpers.planted_release import Parts, part_id, publish, unit_rows

TOPICS, DIM, BANK = 40, 64, 200


def reciprocal_ranks(lists: list[list[str]], right: list[set[str]]) -> np.ndarray:
    """(q,) 1 / rank of the first right part of each list, 0 where there is none."""
    return np.array(
        [
            next((1 / (n + 1) for n, part in enumerate(parts) if part in answers), 0.0)
            for parts, answers in zip(lists, right, strict=True)
        ]
    )


def misaligned(rng: np.random.Generator, samples: int, nuisance: float) -> dict[str, np.ndarray]:
    """Images and texts of topics. Each image also has a style, which its text lacks: pairs of
    images are near by style, as two photographs of one camera are."""
    topics, styles = rng.normal(size=(TOPICS, DIM)), rng.normal(size=(12, DIM))
    content = topics[np.arange(samples) % TOPICS] + 0.5 * rng.normal(size=(samples, DIM))
    style = styles[rng.integers(0, 12, samples)]
    return {
        "image": unit_rows(content + nuisance * style + 0.3 * rng.normal(size=content.shape)),
        "text": unit_rows(content + 0.3 * rng.normal(size=content.shape)),
    }


def combined(
    corpus: "isotrope.Corpus",
    queries: dict[str, np.ndarray],
    gallery: str,
    right: list[set[str]],
) -> dict[str, Callable[[], np.ndarray]]:
    """Queries of two inputs each, by their sum, volume and product."""

    def run(correction: str, combination: str) -> np.ndarray:
        search = corpus.search(vectors=queries).among(gallery).correct(correction)
        found = search.combine(combination).select("part_id").limit(100).to_arrow()
        lists: list[list[str]] = [[] for _ in right]
        owners = found["query"].to_pylist()
        for owner, part in zip(owners, found["part_id"].to_pylist(), strict=True):
            lists[owner].append(part)
        return reciprocal_ranks(lists, right)

    return {
        "raw": lambda: run("none", "sum"),
        "corrected": lambda: run("auto", "sum"),
        "raw, volume": lambda: run("none", "volume"),
        "corrected, volume": lambda: run("auto", "volume"),
        "product": lambda: run("auto", "product"),
    }


def combine() -> dict[str, dict[str, Callable[[], np.ndarray]]]:
    """Recordings that are determined by an image and a text together, in two ways."""
    rng, count, noise = np.random.default_rng(0), 300, 0.5
    signs = rng.choice([-1.0, 1.0], (2, count + BANK, DIM))
    shares = rng.random((count + BANK, 1))
    concepts = rng.normal(size=(2, 20, DIM))
    images, texts = concepts[0, rng.integers(0, 20, (count + BANK))], concepts[1][
        rng.integers(0, 20, (count + BANK))
    ]  # fmt: skip
    settings = {
        "audio is the product of image and text": (signs[0], signs[1], signs[0] * signs[1]),
        "audio is an unknown mix of image and text": (
            images,
            texts,
            shares * images + (1 - shares) * texts,
        ),
    }
    measured = {}
    for name, triple in settings.items():
        noisy = [unit_rows(rows + noise * rng.normal(size=rows.shape)) for rows in triple]
        vectors = dict(zip(("image", "text", "audio"), noisy, strict=True))
        parts = {"audio": Parts(np.arange(count), vectors["audio"][:count])}
        banks = {m: v[count:] for m, v in vectors.items()}
        corpus = publish(Path(tempfile.mkdtemp()), parts, banks)
        queries = {m: vectors[m][:200] for m in ("image", "text")}
        right = [{part_id("audio", n)} for n in range(200)]
        measured[name] = combined(corpus, queries, "audio", right)
    return measured


def aggregate() -> dict[str, dict[str, Callable[[], np.ndarray]]]:
    """Samples of an image and a recording: a text is about one of them, or about both, or the
    recording says nothing. Weights are learned from the pairs of the last 100 samples."""
    rng, count = np.random.default_rng(0), 400
    total = count + BANK
    shared, own = rng.normal(size=(total, DIM)), rng.normal(size=(2, total, DIM))
    is_first = rng.random((total, 1)) < 0.5
    held_out = slice(300, count)
    settings = {
        "the answer is in one part": (*own, np.where(is_first, own[0], own[1])),
        "the answer is in both parts": (shared, shared, shared),
        "the answer is in the image": (own[0], own[1], own[0]),
    }
    measured = {}
    for name, triple in settings.items():
        noisy = [unit_rows(rows + 1.8 * rng.normal(size=rows.shape)) for rows in triple]
        vectors = dict(zip(("image", "audio", "text"), noisy, strict=True))
        parts = {m: Parts(np.arange(count), vectors[m][:count]) for m in ("image", "audio")}
        pairs = {m: Parts(np.arange(count)[held_out], v[held_out]) for m, v in vectors.items()}
        corpus = publish(
            Path(tempfile.mkdtemp()),
            parts,
            {m: v[count:] for m, v in vectors.items()},
            held_out={"validation": pairs},
        )

        def run(
            correction: str,
            way: str,
            corpus: "isotrope.Corpus" = corpus,
            queries: np.ndarray = vectors["text"][:200],
        ) -> np.ndarray:
            lists = []
            for vector in queries:
                query = corpus.search(vectors={"text": vector}).among("sample").aggregate(way)
                rows = query.correct(correction).limit(100).to_arrow()
                lists.append(rows["id"].to_pylist())
            return reciprocal_ranks(lists, [{f"{n:032x}"} for n in range(len(queries))])

        measured[name] = {
            "raw": lambda run=run: run("none", "max"),
            "corrected": lambda run=run: run("auto", "max"),
            "raw, softmax": lambda run=run: run("none", "softmax"),
            "corrected, softmax": lambda run=run: run("auto", "softmax"),
            "corrected, learned": lambda run=run: run("auto", "learned"),
        }
    return measured


def coco_expand(features: Path) -> dict[str, Callable[[], np.ndarray]]:
    """300 pairs of COCO, with 200 others as banks: the one right answer is the text's image."""
    image, text = np.load(features)
    vectors = {"image": image, "text": text}
    parts = {m: Parts(np.arange(300), unit_rows(v[:300])) for m, v in vectors.items()}
    corpus = publish(
        Path(tempfile.mkdtemp()), parts, {m: unit_rows(v[300:]) for m, v in vectors.items()}
    )
    right = [{part_id("image", n)} for n in range(100)]
    return _expanded(corpus, parts["text"].vectors[:100], right)


def topic_expand() -> dict[str, Callable[[], np.ndarray]]:
    """Images of topics on curves: a text is near to the start of its topic's curve only."""
    rng, count = np.random.default_rng(0), 400
    topics, drift = rng.normal(size=(2, TOPICS, DIM))
    topic = np.arange(count + BANK) % TOPICS
    along = rng.random((count + BANK, 1)) * 2.5
    noise = 0.35 * rng.normal(size=(2, count + BANK, DIM))
    image = unit_rows(topics[topic] + along * drift[topic] + noise[0])
    text = unit_rows(topics[topic] + noise[1])
    parts = {"image": Parts(np.arange(count), image[:count])}
    banks = {"image": image[count:], "text": text[count:]}
    corpus = publish(Path(tempfile.mkdtemp()), parts, banks)
    right = [{part_id("image", m) for m in range(n % TOPICS, count, TOPICS)} for n in range(100)]
    return _expanded(corpus, text[:100], right, measure=average_precision)


def average_precision(lists: list[list[str]], right: list[set[str]]) -> np.ndarray:
    """(q,) average precision of each list."""
    values = []
    for parts, answers in zip(lists, right, strict=True):
        hits = np.array([part in answers for part in parts])
        values.append(float((np.cumsum(hits) / np.arange(1, len(hits) + 1)) @ hits) / len(answers))
    return np.array(values)


def _expanded(
    corpus: "isotrope.Corpus",
    queries: np.ndarray,
    right: list[set[str]],
    measure: Callable[[list[list[str]], list[set[str]]], np.ndarray] = reciprocal_ranks,
) -> dict[str, Callable[[], np.ndarray]]:
    def run(correction: str, words: tuple[int, float] | None) -> np.ndarray:
        lists = []
        for vector in queries:
            query = corpus.search(vectors={"text": vector}).correct(correction).limit(100)
            query = query if words is None else query.expand(*words)
            lists.append(query.select("part_id").to_arrow()["part_id"].to_pylist())
        return measure(lists, right)

    return {
        "raw": lambda: run("none", None),
        "corrected": lambda: run("auto", None),
        "corrected, expand(1, 0.5)": lambda: run("auto", (1, 0.5)),
        "corrected, expand(1, 0.8)": lambda: run("auto", (1, 0.8)),
        "corrected, expand(2, 0.5)": lambda: run("auto", (2, 0.5)),
    }


def route() -> dict[str, Callable[[], np.ndarray]]:
    """Images of topics, where images are also alike by their style."""
    rng, count = np.random.default_rng(0), 400
    vectors = misaligned(rng, count + BANK, 1.2)
    parts = {m: Parts(np.arange(count), v[:count]) for m, v in vectors.items()}
    banks = {m: v[count:] for m, v in vectors.items()}
    corpus = publish(Path(tempfile.mkdtemp()), parts, banks)

    def measure(correction: str, way: str) -> np.ndarray:
        lists = []
        for n in range(200):
            query = corpus.search(ids=part_id("image", n)).correct(correction).route(way)
            lists.append(query.select("part_id").limit(100).to_arrow()["part_id"].to_pylist())
        mates = [set(range(n % TOPICS, count, TOPICS)) - {n} for n in range(200)]
        return reciprocal_ranks(lists, [{part_id("image", m) for m in each} for each in mates])

    return {
        "raw": lambda: measure("none", "direct"),
        "corrected": lambda: measure("auto", "direct"),
        "raw, cross": lambda: measure("none", "cross"),
        "corrected, cross": lambda: measure("auto", "cross"),
    }
