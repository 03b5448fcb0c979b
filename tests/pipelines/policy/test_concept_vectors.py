"""Concepts by vectors: the nearest ones against loops, stored vectors, decisions and what-if."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.policy import concept_vectors
from pipelines.policy.concept_vectors import nearest_concepts
from pipelines.policy.whatif import compare_policies
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.arrow import as_matrix
from store.errors import ConfigError, InputError, NotFoundError
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS
from tests.helpers.served import stored_corpus
from tests.helpers.stages import build

TABLE = "concepts__colours"


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    made = rng.normal(size=(rows, 5)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12), st.integers(1, 14))
def test_the_nearest_are_those_of_loops(seed: int, parts: int, concepts: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    rows, vectors = unit(rng, parts), unit(rng, concepts)
    rows[rng.random(parts) < 0.2] = 0
    present = [row for row in rows if row.any()]
    # NNN with its defaults: 0.75 times the mean of a concept's 16 highest cosines.
    bias = [
        0.75 * np.mean(sorted((float(p @ v) for p in present), reverse=True)[:16])
        for v in vectors
        if present
    ]
    found = {}
    for numbers, nearest in nearest_concepts(rows, vectors, count):
        found |= dict(zip(numbers.tolist(), nearest.tolist(), strict=True))
    assert sorted(found) == [n for n, row in enumerate(rows) if row.any()]
    for number, nearest in found.items():
        scores = vectors @ rows[number] - bias
        assert len(set(nearest)) == min(count, concepts)
        np.testing.assert_allclose(
            scores[nearest], np.sort(scores)[::-1][: len(nearest)], atol=1e-5
        )


def with_concepts(root: Path, **changes: object) -> Workspace:
    """The corpus with a policy of concepts alone, whose names are those of the colours."""
    concepts = {"names": "names.txt", "match": "vectors", "most": 5} | changes
    written = ", ".join(f"{key}: {value}" for key, value in concepts.items())
    file = root / "corpus.yaml"
    before, after = file.read_text().split("\npolicy:")
    sections = [part for part in after.split("\n") if part[:1].strip()]
    kept = after[after.index(sections[0]) :] if sections else ""
    file.write_text(f"{before}\npolicy: {{concepts: {{{written}}}}}\n{kept}")
    return Workspace.open(root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The stored corpus, with a list of the colours."""
    folder = stored_corpus(tmp_path).root
    (folder / "names.txt").write_text("\n".join(COLOURS) + "\n")
    return folder


def decide(workspace: Workspace) -> None:
    build("decisions", StageContext(workspace))


def centred(vectors: np.ndarray) -> np.ndarray:
    moved = vectors - vectors.mean(axis=0)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def expected_counts(workspace: Workspace) -> Counter[str]:
    """How many samples have each concept, by loops over the stored tables."""
    concepts = workspace.tables.open(TABLE).to_table()
    names, vectors = concepts["name"].to_pylist(), centred(as_matrix(concepts["vector"]))
    samples = workspace.tables.open("samples").to_table(["image_id", "text_id"]).to_pylist()
    owned: list[set[str]] = [set() for _ in samples]
    for modality in ("image", "text"):
        rows = workspace.tables.open("vectors__colours").to_table()
        rows = rows.filter(pc.field("modality") == modality)
        of_part = dict(zip(rows["part_id"].to_pylist(), as_matrix(rows["vector"]), strict=True))
        parts = [row[f"{modality}_id"] for row in samples]
        scores = centred(np.array([of_part[part] for part in parts])) @ vectors.T
        scores = scores - 0.75 * np.sort(scores, axis=0)[-16:].mean(axis=0)
        for own, nearest in zip(owned, scores.argmax(axis=1), strict=True):
            own.add(names[nearest])
    return Counter(name for own in owned for name in own)


def test_samples_have_the_concepts_nearest_to_their_parts(root: Path) -> None:
    workspace = with_concepts(root, most=2)
    decide(workspace)
    assert workspace.tables.open(TABLE).to_table()["name"].to_pylist() == sorted(COLOURS)
    counts = expected_counts(workspace)
    rows = workspace.tables.open("decisions").to_table(["keep", "rule", "value"]).to_pylist()
    rejected = [row for row in rows if not row["keep"]]
    assert len(rejected) > len(rows) / 4
    assert {row["rule"] for row in rejected} == {"concepts.most"}
    assert {row["value"] for row in rejected} <= {f"{n}: {count}" for n, count in counts.items()}
    whole = compare_policies(workspace, ("concepts.most=10000",))
    assert whole.kept == (len(rows) - len(rejected), len(rows))
    assert {n: row[0] for n, row in whole.concepts.items() if n in COLOURS} == dict(counts)


def test_new_names_alone_are_encoded_and_old_ones_go(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = with_concepts(root)
    with pytest.raises(NotFoundError, match=r"isotrope run` makes them"):
        compare_policies(workspace)
    decide(workspace)
    key = run_keys.decisions(StageContext(workspace))
    asked: list[list[str]] = []
    encode = concept_vectors.encode_texts
    monkeypatch.setattr(
        concept_vectors,
        "encode_texts",
        lambda spec, texts, title: (asked.append(list(texts)), encode(spec, texts, title))[1],
    )
    (root / "names.txt").write_text("red\nblue\nviolet\n")
    assert run_keys.decisions(StageContext(workspace)) != key
    decide(workspace)
    assert asked == [["violet"]]
    assert workspace.tables.open(TABLE).to_table()["name"].to_pylist() == ["blue", "red", "violet"]


def test_modalities_are_named(root: Path) -> None:
    workspace = with_concepts(root, modalities="image")
    decide(workspace)
    rows = compare_policies(workspace).concepts
    assert sum(rows[name][0] for name in COLOURS) == workspace.tables.open("samples").count_rows()
    with pytest.raises(InputError, match="no tower of audio"):
        decide(with_concepts(root, modalities="audio"))
    with pytest.raises(ConfigError, match="no modality 'smell'"):
        with_concepts(root, modalities="smell")


def test_captions_and_vectors_together(root: Path) -> None:
    (root / "names.txt").write_text("red\nblue\nsquare\n")
    by_name = with_concepts(root, match="names", most=3)
    decide(by_name)
    names = compare_policies(by_name).concepts
    both = with_concepts(root, match="both", most=3)
    decide(both)
    rows = compare_policies(both).concepts
    assert rows["square"][0] >= names["square"][0]
    assert rows["red"][0] > names["red"][0]  # pictures of other colours have a nearest name too


def test_very_long_lists_are_refused(root: Path) -> None:
    (root / "names.txt").write_text("\n".join(f"name {n}" for n in range(20_001)))
    with pytest.raises(InputError, match="at most 20,000"):
        decide(with_concepts(root))
