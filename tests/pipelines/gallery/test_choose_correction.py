"""Which correction a direction has if its pairs cannot tell."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.banks.labelled_queries import Gallery
from pipelines.gallery.choose_correction import choose_correction
from store.arrow import vector_column
from store.config.corrections import Corrections
from store.tables.banks import Banks

SAMPLES, VALIDATION = 100, 10  # fewer validation pairs than a choice needs


def unit_rows(seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(SAMPLES, 6)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(("query", "expected"), [("text", "nnn"), ("image", "none")])
def test_the_default_is_trusted_between_modalities_only(query: str, expected: str) -> None:
    vectors = {"image": unit_rows(0), "text": unit_rows(1)}
    clusters = [f"c{n // 2:03d}" for n in range(SAMPLES)]  # pairs, also within a modality
    split = ["validation" if n < VALIDATION else "bank" for n in range(SAMPLES)]
    tables = [
        pa.table(
            {
                "split": split,
                "modality": [m] * SAMPLES,
                "origin": ["corpus"] * SAMPLES,
                "part_id": [f"{m}{n:03d}" for n in range(SAMPLES)],
                "sample_id": [f"s{n:03d}" for n in range(SAMPLES)],
                "cluster": clusters,
                "vector": vector_column(rows),
            }
        )
        for m, rows in vectors.items()
    ]
    parts = np.array([f"image{n:03d}" for n in range(SAMPLES)])
    gallery = Gallery(vectors["image"], np.array(clusters), parts)
    banks = Banks(pa.concat_tables(tables))
    direction = choose_correction(banks, query, "image", gallery, Corrections())
    assert direction.method == expected
    assert "too few to choose on" in direction.reason
