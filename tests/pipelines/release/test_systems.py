"""The comparison of retrieval systems adopts those that surely gain on validation pairs."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import isotrope
from orchestration.cli.main import main
from pipelines.release.systems import compare_systems
from store.arrow import vector_column
from store.errors import NotFoundError
from store.search.vector_layout import fold
from store.tables import moments, schema, tokens
from store.tables.lance_tables import Tables
from store.workspace import Workspace
from tests.helpers.planted_release import Parts, part_id, publish, unit_rows
from tests.helpers.release_tables import write_gallery

SAMPLES, BANK, DIM = 240, 100, 64
SPLITS = {"validation": slice(0, 80), "test": slice(80, 160)}
Vectors = dict[str, np.ndarray]


def products(seed: int = 0) -> Vectors:
    """Vectors (SAMPLES + BANK, DIM) of three modalities, each the product of the two others."""
    rng = np.random.default_rng(seed)
    image, text = rng.choice([-1.0, 1.0], (2, SAMPLES + BANK, DIM))
    triple = {"image": image, "text": text, "audio": image * text}
    return {m: unit_rows(v + 0.5 * rng.normal(size=v.shape)) for m, v in triple.items()}


def parts_of(vectors: Vectors, rows: slice, *modalities: str) -> dict[str, Parts]:
    return {m: Parts(np.arange(SAMPLES)[rows], vectors[m][:SAMPLES][rows]) for m in modalities}


def release(root: Path, vectors: Vectors, *galleries: str) -> "isotrope.Corpus":
    banks = {m: v[SAMPLES:] for m, v in vectors.items()}
    held_out = {split: parts_of(vectors, rows, *vectors) for split, rows in SPLITS.items()}
    gallery = parts_of(vectors, slice(None), *galleries)
    return publish(root, gallery, banks, held_out=held_out)


def test_products_are_ranked_by_the_product_alone(tmp_path: Path) -> None:
    figures = compare_systems(release(tmp_path, products(), "audio"), samples=12)
    figures = json.loads(json.dumps(figures))
    assert list(figures) == ["image->audio", "text->audio", "image + text->audio"]
    for direction, values in figures.items():
        assert values["queries"] == 12
        adopted = {name for name, system in values["systems"].items() if system["adopted"]}
        assert adopted == ({"product"} if direction == "image + text->audio" else set())
        for system in values["systems"].values():
            assert system["adopted"] == (system["validation"]["low"] > 0)
            gain = system["mrr"] - values["corrected"]["mean"]
            assert system["test"]["mean"] == pytest.approx(gain, abs=1e-9)
    assert figures["image + text->audio"]["systems"]["product"]["mrr"] > 0.9


def test_late_interaction_is_compared_where_there_are_token_vectors(tmp_path: Path) -> None:
    """Images have the tokens of their texts among others, and vectors with much noise."""
    rng = np.random.default_rng(2)
    signal, common = rng.normal(size=(SAMPLES + BANK, DIM)), rng.normal(size=DIM)
    made = {m: unit_rows(signal + 2.5 * rng.normal(size=signal.shape)) for m in ("image", "text")}
    own = rng.normal(size=(SAMPLES, 2, 8)) + 0.3 * common[:8]
    tables = {}
    for modality, extra in (("image", 3), ("text", 1)):
        sets = np.concatenate([own, rng.normal(size=(SAMPLES, extra, 8))], axis=1)
        tables[f"tokens__planted__{modality}"] = pa.table(
            [
                [part_id(modality, n) for n in range(SAMPLES)],
                [modality] * SAMPLES,
                [tokens.fingerprint("")] * SAMPLES,
                tokens.column(
                    tokens.TokenSets(
                        unit_rows(sets.reshape(-1, 8)), np.full(SAMPLES, sets.shape[1])
                    )
                ),
            ],
            schema=tokens.schema(8),
        )
    banks = {m: v[SAMPLES:] for m, v in made.items()}
    held_out = {split: parts_of(made, rows, *made) for split, rows in SPLITS.items()}
    corpus = publish(
        tmp_path, parts_of(made, slice(None), *made), banks, held_out=held_out, more=tables
    )
    figures = compare_systems(corpus, samples=12)
    for direction in ("text->image", "image->text"):
        late = figures[direction]["systems"]["late"]
        assert late["adopted"]
        assert late["mrr"] > figures[direction]["corrected"]["mean"] + 0.2


@pytest.mark.slow
def test_moments_are_compared_where_the_gallery_has_them(tmp_path: Path) -> None:
    """Images have one tile that is like their texts, and vectors with much noise."""
    rng = np.random.default_rng(3)
    signal = rng.normal(size=(SAMPLES + BANK, DIM))
    made = {m: unit_rows(signal + 2.5 * rng.normal(size=signal.shape)) for m in ("image", "text")}
    others = unit_rows(rng.normal(size=(SAMPLES, DIM)))
    tiles = np.stack([others, made["text"][:SAMPLES]], axis=1).reshape(-1, DIM)
    owners = np.repeat(np.arange(SAMPLES), 2)
    ids = [f"{n:032x}" for n in owners]
    columns = {
        "part_id": [part_id("image", n) for n in owners],
        **dict.fromkeys(("id", "cluster", "key"), ids),
        "vector": vector_column(fold(tiles, {}, {})),
        **{f"bias_{m}": np.zeros(len(ids), np.float32) for m in schema.MODALITIES},
        **{f"hub_{m}": np.zeros(len(ids), bool) for m in schema.MODALITIES},
        "sample_ids": [[each] for each in ids],
        "drops": [["d"]] * len(ids),
        "moment": np.arange(len(ids)) % 2,
        "encoder": [""] * len(ids),
        "_box": [[0.0, 0.0, 1.0, 1.0]] * len(ids),
    }
    name, scratch = "moments__planted__image", Tables(tmp_path / "scratch")
    write_gallery(scratch, name, moments.served_schema("image", DIM), columns, len(ids))
    banks = {m: v[SAMPLES:] for m, v in made.items()}
    held_out = {split: parts_of(made, rows, *made) for split, rows in SPLITS.items()}
    parts, more = parts_of(made, slice(None), *made), {name: scratch.open(name).to_table()}
    corpus = publish(tmp_path / "corpus", parts, banks, held_out=held_out, more=more)
    figures = compare_systems(corpus, samples=12)
    assert "moments" not in figures["image->text"]["systems"]
    system = figures["text->image"]["systems"]["moments"]
    assert system["adopted"]
    assert system["mrr"] == 1


def test_raw_ranks_are_those_of_all_scores(tmp_path: Path) -> None:
    made = products(1)
    vectors = {"image": made["image"], "text": unit_rows(made["text"] + 0.3 * made["image"])}
    figures = compare_systems(release(tmp_path, vectors, "image"), samples=12)
    system = figures["text->image"]["systems"]["raw"]
    order = np.random.default_rng(0).permutation([f"{n:032x}" for n in range(80, 160)])[:12]
    own = np.array([int(sample, 16) for sample in order])
    scores = vectors["text"][own] @ vectors["image"][:SAMPLES].T
    ranks = 1 + (scores > scores[np.arange(12), own, None]).sum(1)
    expected = np.where(ranks > 100, 0, 1 / ranks).mean()
    assert system["mrr"] == pytest.approx(expected, abs=1e-6)


def test_a_release_without_held_out_pairs(tmp_path: Path) -> None:
    vectors = products()
    parts = parts_of(vectors, slice(None), "image", "text")
    corpus = publish(tmp_path, parts, {m: vectors[m][SAMPLES:] for m in parts})
    with pytest.raises(NotFoundError, match="no validation samples"):
        compare_systems(corpus)


def test_the_command(squares: Workspace) -> None:
    run = CliRunner().invoke(
        main, ["evaluate", "--systems", "--samples", "4", "--corpus", str(squares.root)]
    )
    assert run.exit_code == 0, run.output
    assert "text->image" in run.output
    assert "expand" in run.output
    assert "adopted" in run.output
