"""Planted releases on which the right answers of each system are known."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

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
