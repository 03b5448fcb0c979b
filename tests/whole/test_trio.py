"""A corpus with three modalities: merged result lists, compiled corrections, rows added later."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

import isotrope
from pipelines.gallery import stage
from pipelines.gallery.fitted_directions import read_fitted
from pipelines.gallery.read_back import read_compiled
from pipelines.release import last_tallies, scan_gallery
from pipelines.release.evaluate import (
    evaluate_directions,
    labelled_test_queries,
    measure,
    read_unseen,
)
from store.corrections import Correction
from store.tables.banks import Banks
from store.tables.releases import latest_release
from store.tables.schema import MODALITIES
from store.workspace import Workspace
from tests.helpers.stages import make_stale_stages
from tests.helpers.trio import CONFIG, DIM, TOPICS, TrioText, deliver, vector

FIRST, LATER = range(480), range(480, 528)


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Workspace:
    root = tmp_path_factory.mktemp("trio")
    (root / "corpus.yaml").write_text(CONFIG)
    deliver(root / "drops" / "first", FIRST)
    workspace = Workspace.open(root)
    make_stale_stages(workspace)
    return workspace


@pytest.fixture(scope="module")
def corpus(trio: Workspace) -> isotrope.Corpus:
    return isotrope.connect(trio.root)


def unit(number: int, modality: str) -> np.ndarray:
    v = vector(number, modality)
    return v / np.linalg.norm(v)


def test_named_corrections_are_compiled(corpus: isotrope.Corpus) -> None:
    methods = {n: d.method for n, d in corpus.release.directions.items()}
    assert methods["text->image"] == "invgc_local+nnn"
    assert methods["image->text"] == "dynamic_inverted_softmax"
    assert methods["image->image"] == "csls"
    assert methods["audio->image"] == "local_scaling"
    assert len(methods) == 9
    assert corpus.release.dim == DIM


@pytest.mark.parametrize(
    ("query", "gallery"),
    [("text", "image"), ("image", "text"), ("image", "image"), ("audio", "image")],
)
def test_search_ranks_as_the_formula_does(
    trio: Workspace, corpus: isotrope.Corpus, query: str, gallery: str
) -> None:
    direction = corpus.release.directions[f"{query}->{gallery}"]
    table = corpus.gallery(gallery)
    rows, correction = read_compiled(table.to_lance(), direction, DIM)
    keys = dict(zip(*table.to_arrow().select(["part_id", "key"]).to_pydict().values(), strict=True))
    queries = np.stack([unit(9000 + i, query) for i in range(12)])
    indices, scores = correction.rank(queries, 10)
    for q, best, score in zip(queries, indices, scores, strict=True):
        result = corpus.search(vectors={query: q}).among(gallery).run()
        assert result.complete
        assert result.rows["key"].to_pylist() == [keys[rows.parts[i]] for i in best]
        np.testing.assert_allclose(result.rows["_score"], score, rtol=1e-5, atol=1e-5)


def topic_of(key: str) -> int:
    return int(key.rpartition("t")[2][:2])


def test_among_any_returns_all_modalities_in_fair_shares(corpus: isotrope.Corpus) -> None:
    """Each modality has a third of a topic's parts."""
    calibrated: Counter[str] = Counter()
    uncalibrated: Counter[str] = Counter()
    right = ten_of_each = 0
    for number in range(9000, 9000 + TOPICS):
        query = corpus.search(text=f"topic {number % TOPICS} number {number}").limit(30)
        rows = query.among("any").to_list()
        calibrated.update(row["modality"] for row in rows)
        right += sum(topic_of(row["key"]) == number % TOPICS for row in rows)
        best = [query.among(m).to_list()[:10] for m in MODALITIES]
        ten_of_each += sum(topic_of(row["key"]) == number % TOPICS for b in best for row in b)
        raw = [row for m in MODALITIES for row in query.among(m).correct("none").to_list()]
        uncalibrated.update(r["modality"] for r in sorted(raw, key=lambda r: -r["_score"])[:30])
    total = calibrated.total()
    assert uncalibrated["text"] / total > 0.9
    assert all(0.2 < calibrated[m] / total < 0.5 for m in MODALITIES), calibrated
    # Almost as many right answers as with ten of each modality, the right shares.
    assert right >= 0.95 * ten_of_each, (right, ten_of_each)


def test_explain_agrees_with_the_gallery(
    corpus: isotrope.Corpus, capsys: pytest.CaptureFixture
) -> None:
    query = corpus.search(text="topic 5 number 9005").among("image").limit(5)
    raw = [r["id"] for r in query.correct("none").limit(400).to_list()]
    table = corpus.gallery("image").to_lance().to_table(columns=["occurrence_text"])
    counts = table["occurrence_text"].to_numpy()
    for hit in query:
        explanation = hit.explain()
        assert explanation.raw_rank == raw.index(hit["id"]) + 1
        assert explanation.score == pytest.approx(
            explanation.raw_score - explanation.bias, abs=1e-6
        )
        (part,) = explanation.parts
        assert part.raw_score == pytest.approx(explanation.raw_score, abs=1e-5)
        assert part.bias == pytest.approx(explanation.bias, abs=1e-5)
        assert part.hub == (part.occurrence > counts.mean() + 2 * counts.std())
        assert len(explanation.items) == 5
        assert explanation.key not in [n.key for n in explanation.items]
        assert len(explanation.queries["text"]) == 5
        explanation.show()
    assert "bank's text queries" in capsys.readouterr().out
    mixed = corpus.search(
        vectors={"text": unit(9005, "text"), "audio": unit(9005, "audio")}, weights=[0.6, 0.4]
    )
    for hit in mixed.among("image").limit(3):
        explanation = hit.explain()
        expected = sum(p.weight * p.bias for p in explanation.parts)
        assert explanation.bias == pytest.approx(expected, abs=1e-5)


def test_occurrence_counts_the_top_ten_lists(trio: Workspace, corpus: isotrope.Corpus) -> None:
    table = corpus.gallery("image").to_lance().to_table(columns=["vector", "occurrence_text"])
    direction = corpus.release.directions["text->image"]
    rows, _ = read_compiled(corpus.gallery("image").to_lance(), direction, DIM)
    bank = corpus.banks.queries("text").vectors[:1000]
    lists = np.argsort(-(bank @ rows.vectors.T), axis=1)[:, :10]
    counts = np.bincount(lists.ravel(), minlength=len(rows.parts))
    assert sorted(table["occurrence_text"].to_pylist()) == sorted(counts.tolist())
    assert counts.sum() == 10 * len(bank)


def test_figures_of_a_scan_are_those_of_the_whole_gallery(
    trio: Workspace, corpus: isotrope.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles on Ray workers and a dense evaluation in memory agree, for all kinds of methods."""
    release = corpus.release
    galleries = {m: corpus.gallery(m).to_lance() for m in MODALITIES}
    monkeypatch.setattr(scan_gallery, "_TASK", 100)
    monkeypatch.setattr(scan_gallery, "_SMALL", 0)
    arguments = galleries, corpus.banks, release.directions, DIM
    scanned = evaluate_directions(*arguments)
    assert len(scanned) >= 6
    for name, figures in scanned.items():
        direction = release.directions[name]
        gallery, compiled, left_out = read_unseen(
            galleries[direction.gallery], corpus.banks, direction, DIM
        )
        queries = labelled_test_queries(corpus.banks, direction, gallery)
        raw = Correction("none", {}, gallery.vectors, np.zeros(len(gallery.parts), np.float32))
        sides = {"raw": measure(raw, queries)}
        sides["corrected"] = measure(compiled, queries)
        assert figures["gallery"] == len(gallery.parts)
        assert figures["left_out"] == left_out
        assert figures["queries"] == queries.answered
        for side, dense in sides.items():
            assert figures[side] == pytest.approx(dense.figures()), (name, side)
            assert figures["k_occurrence"][side] == np.bincount(dense.counts).tolist()
            assert figures["intervals"][side]["mrr"]["low"] == pytest.approx(
                dense.intervals()["mrr"].low
            )
    monkeypatch.setattr(scan_gallery, "_SMALL", 10**9)
    in_process = evaluate_directions(*arguments)
    assert all(in_process[n]["raw"] == pytest.approx(f["raw"]) for n, f in scanned.items())


def galleries(workspace: Workspace) -> dict[str, dict[str, object]]:
    """The rows of every gallery by part id: fitted columns as one array, the others as they are."""
    out: dict[str, dict[str, object]] = {}
    for modality in MODALITIES:
        table = workspace.tables.open(f"gallery__trio__{modality}").to_table()
        for row in table.to_pylist():
            names = [n for n in row if n.partition("_")[0] in ("vector", "bias", "hub")]
            for n in [n for n in row if n.startswith("occurrence_")]:
                del row[n]  # counted by floors that a rebuild finds anew
            flat = [np.ravel(np.asarray(row.pop(n), np.float64)) for n in names]
            out[row["part_id"]] = {**row, "fitted": np.concatenate(flat)}
    return out


def fragments(workspace: Workspace) -> set[tuple[str, int]]:
    tables = [f"gallery__trio__{modality}" for modality in MODALITIES]
    return {
        (name, f.fragment_id)
        for name in tables
        for f in workspace.tables.open(name).get_fragments()
    }


def assert_equal_to_a_rebuild(workspace: Workspace) -> None:
    """Every row is as if all galleries were made and fitted anew."""
    after, tables = galleries(workspace), workspace.tables
    tables.replace("directions__trio", tables.open("directions__trio").schema, [], None)
    tables.replace("stages", tables.open("stages").schema, [], "stage = 'gallery'")
    make_stale_stages(workspace)
    full = galleries(workspace)
    assert full.keys() == after.keys()
    for part, row in full.items():
        assert np.abs(row.pop("fitted") - after[part].pop("fitted")).max() < 1e-6
        assert row == after[part]


def assert_evaluated_as_by_a_scan(workspace: Workspace, scans: list[int]) -> None:
    """The release's figures are those of a scan, although few queries were ranked in all rows.

    Args:
        scans: the numbers of queries that were ranked in whole galleries.
    """
    release, tables = latest_release(workspace.tables), workspace.tables
    names = {m: release.gallery(m) for m in MODALITIES}
    opened = {m: tables.open(n, release.versions[n]) for m, n in names.items()}
    banks = Banks(tables.open("banks__trio", release.versions["banks__trio"]))
    scanned = evaluate_directions(opened, banks, release.directions, DIM)
    queries = sum(f["queries"] for f in scanned.values())
    assert sum(scans) < queries / 2, (scans, queries)
    assert release.part_weights
    assert all(w.changed for w in release.part_weights.values())  # they were not learned anew
    assert release.evaluation.keys() == scanned.keys()
    for name, figures in scanned.items():
        stored = release.evaluation[name]
        assert stored.pop("choice_kept_from") < release.number
        assert stored.pop("inputs")
        assert stored == approximately(json.loads(json.dumps(figures))), name


def approximately(figures: Any) -> Any:
    """As `pytest.approx`, of nested dicts."""
    if isinstance(figures, dict):
        return {name: approximately(value) for name, value in figures.items()}
    is_numbers = isinstance(figures, float) or (
        isinstance(figures, list) and figures and isinstance(figures[0], float)
    )
    return pytest.approx(figures, abs=1e-5) if is_numbers else figures


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of queries that releases rank in whole galleries."""
    numbers: list[int] = []
    tally = last_tallies.tally_gallery

    def counted(
        gallery: Any, scan: Any, address: str | None = None, rows: np.ndarray | None = None
    ) -> Any:
        if rows is None:
            numbers.append(sum(len(s.vectors) for s in scan.sets))
        return tally(gallery, scan, address, rows)

    monkeypatch.setattr(last_tallies, "tally_gallery", counted)
    return numbers


@pytest.mark.timeout(600)
def test_a_gallery_is_updated_by_difference(
    trio: Workspace, monkeypatch: pytest.MonkeyPatch, scans: list[int], ray_cluster: None
) -> None:
    """Runs last: it adds a drop to the corpus, and removes samples by the policy."""
    before, directions, written = galleries(trio), read_fitted(trio.tables, "trio"), fragments(trio)
    banks = trio.tables.version("banks__trio")
    deliver(trio.root / "drops" / "later", LATER)
    with monkeypatch.context() as patched:
        patched.delattr(stage, "cluster")  # few rows are made without Ray
        make_stale_stages(trio)
    assert_evaluated_as_by_a_scan(trio, scans)
    after, directions_after = galleries(trio), read_fitted(trio.tables, "trio")
    assert {n: f.direction for n, f in directions_after.items()} == {
        n: f.direction for n, f in directions.items()
    }
    assert len(after) > len(before)
    assert all((after[part]["fitted"] == row["fitted"]).all() for part, row in before.items())
    assert trio.tables.version("banks__trio") == banks  # nothing was written
    assert written < fragments(trio)  # the rows of the last gallery were not written again
    assert_equal_to_a_rebuild(trio)
    written = fragments(trio)
    config = CONFIG.replace("policy:", "policy:\n  text_chars: {min: 17}")
    (trio.root / "corpus.yaml").write_text(config)
    stricter = Workspace.open(trio.root)
    with monkeypatch.context() as patched:
        patched.delattr(stage, "cluster")
        scans.clear()
        make_stale_stages(stricter)
    assert_evaluated_as_by_a_scan(stricter, scans)
    assert len(galleries(stricter)) < len(after)
    assert fragments(stricter) == written
    assert_equal_to_a_rebuild(stricter)


def test_the_encoder_reads_the_number_of_a_sample() -> None:
    assert TrioText().encode([7])[0] == pytest.approx(unit(7, "text"))
