"""Indexed search: the recall that a release states is reached, and `complete` is never wrong."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.index import build
from pipelines.index.build import index_gallery
from pipelines.index.candidates import Candidates
from pipelines.index.choose_probes import measure
from pipelines.index.exact_scores import best_rows
from store.arrow import as_matrix, vector_column
from store.config.index import Index
from store.corrections import Correction, fit
from store.search.column_plan import WeightedInput
from store.search.corrected_search import search_corrected
from store.search.open_gallery import OpenGallery
from store.search.vector_layout import BIAS_SCALE, fold, query_vector
from store.tables import schema
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.indexes import GalleryIndex, Probe, describe, from_description
from store.tables.lance_tables import Tables
from store.tables.reindex import vector_indexes

DIM, ROWS, NAME = 32, 3_000, "gallery__s__image"
METHODS = {"text": "nnn", "image": "invgc_local+nnn", "audio": "dynamic_inverted_softmax"}
RNG = np.random.default_rng(3)
CENTRES = RNG.normal(size=(60, DIM))


def near_centres(count: int) -> np.ndarray:
    x = CENTRES[RNG.integers(0, len(CENTRES), count)] + 0.5 * RNG.normal(size=(count, DIM)) + 0.4
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


ITEMS, BANK, QUERIES = near_centres(ROWS), near_centres(300), near_centres(60)
NUMBERS = RNG.permutation(ROWS)


@pytest.fixture(scope="module", autouse=True)
def few_queries() -> Iterator[None]:
    """Choose probes on fewer queries, in less time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "QUERIES", 64)
        yield


@pytest.fixture(scope="module")
def fitted() -> dict[str, Correction]:
    return {m: fit(name, gallery=ITEMS, query_bank=BANK, gallery_bank=ITEMS[:300])
            for m, name in METHODS.items()}  # fmt: skip


@pytest.fixture(scope="module")
def directions(fitted: dict[str, Correction]) -> dict[str, Direction]:
    return {
        f"{m}->image": Direction(
            m, "image", c.method, c.params, "", 0, centre=float(c.bias.mean()), scale=BIAS_SCALE
        )
        for m, c in fitted.items()
    }


def write_gallery(
    tables: Tables, fitted: dict, directions: dict, rows: slice = slice(None)
) -> None:
    by_query = {m: directions[f"{m}->image"] for m in fitted}
    bias = {m: c.bias for m, c in fitted.items()}
    moved = {"image": bias["image"]}
    text = [f"{n}" for n in range(ROWS)]
    columns = {
        "part_id": text, "id": text, "cluster": text, "key": text,
        "caption": [f"item number {n}" for n in range(ROWS)],
        "vector": vector_column(fold(ITEMS, {m: bias[m] for m in ("text", "audio")}, by_query)),
        "vector_image": vector_column(fold(fitted["image"].vectors, moved, by_query)),
        "image_width": pa.array(NUMBERS, schema.SIGNAL_TYPES["image_width"]),
        "sample_ids": [[n] for n in text], "drops": [["d"]] * ROWS,
    }  # fmt: skip
    for m, c in fitted.items():
        columns[f"bias_{m}"] = c.bias
        columns[f"hub_{m}"] = np.zeros(ROWS, bool) if c.flag is None else c.flag
    wanted = schema.gallery(DIM, ["image"])
    arrays = [
        pa.nulls(ROWS, f.type) if f.name not in columns else pa.array(columns[f.name], f.type)
        if not isinstance(columns[f.name], pa.Array) else columns[f.name]
        for f in wanted
    ]  # fmt: skip
    table = pa.table(arrays, schema=wanted)[rows]
    tables.replace(NAME, wanted, table.to_batches(), "false")


@pytest.fixture(scope="module")
def banks() -> Banks:
    names = [f"q{n}" for n in range(len(BANK))]
    columns = dict.fromkeys(("part_id", "sample_id", "cluster"), names)
    columns |= {name: ["x"] * len(BANK) for name in ("origin", "encoder", "draw")}
    tables = [
        pa.table({**columns, "split": ["bank"] * len(BANK), "modality": [m] * len(BANK),
                  "vector": vector_column(BANK)}).select(schema.banks(DIM).names)
        for m in METHODS
    ]  # fmt: skip
    return Banks(pa.concat_tables(tables).cast(schema.banks(DIM)))


@pytest.fixture(scope="module")
def galleries(tmp_path_factory, fitted, directions, banks) -> dict[str, OpenGallery]:
    """The same gallery with every type of index."""
    opened = {}
    for kind in ("flat", "ivf_rq", "ivf_hnsw_sq", "ivf_pq"):
        tables = Tables(tmp_path_factory.mktemp(kind))
        write_gallery(tables, fitted, directions)
        settings = Index(type=kind, partitions=24)
        index = index_gallery(tables, NAME, "image", directions, banks, settings)
        opened[kind] = OpenGallery(tables.open(NAME), "image", index)
    return opened


def exact(
    fitted, directions, inputs: list[WeightedInput], admitted: np.ndarray | None = None
) -> np.ndarray:
    """The scores (n,) of all items by the dense formula, if the items `admitted` are searched."""
    admitted = np.arange(ROWS) if admitted is None else admitted
    total = np.zeros(ROWS)
    for i in inputs:
        c = fitted[i.modality]
        raw = c.vectors @ i.vector
        if f"{i.modality}->image" not in directions:
            raw, bias = ITEMS @ i.vector, np.zeros(ROWS)
        else:
            top = admitted[np.argmax(raw[admitted])] if len(admitted) else 0
            corrected = c.flag is None or c.flag[top]
            bias = c.bias if corrected else np.zeros(ROWS)
        total += i.weight * (raw - bias)
    return total


def by_modality(directions: dict[str, Direction]) -> dict[str, Direction]:
    return {d.query: d for d in directions.values()}


@pytest.mark.parametrize("kind", ["ivf_rq", "ivf_hnsw_sq", "ivf_pq"])
def test_the_stated_recall_is_reached(galleries, fitted, directions, kind: str) -> None:
    gallery = galleries[kind]
    assert gallery.index.type == kind
    assert gallery.index.bytes > 0
    for active in ({}, directions):
        for m in METHODS:
            shares, used = [], 0
            for query in QUERIES:
                inputs = [WeightedInput(m, query, 1.0)]
                result = search_corrected(gallery, inputs, by_modality(active), ["id"], None, 10)
                used += not result.complete
                best = np.argsort(-exact(fitted, active, inputs))[:10]
                shares.append(len({*result.rows["id"].to_pylist()} & {str(n) for n in best}) / 10)
            assert np.mean(shares) >= 0.97, (m, bool(active))  # the bound is 0.99 on the bank
            assert used == len(QUERIES) or gallery.index.notes


@pytest.mark.parametrize("kind", ["ivf_rq", "ivf_hnsw_sq", "ivf_pq"])
def test_one_search_tells_the_recall_for_all_numbers_of_rows_ranked_anew(galleries, kind) -> None:
    gallery, refines = galleries[kind], [1, 2, 4, 16]
    queries = np.stack([query_vector(query, {}, {}) for query in QUERIES])
    best = best_rows(gallery.table, "vector", queries, [10])[10]
    recalls = Candidates(gallery, "vector", queries, best, 10, refines).recalls(4)
    for refine, recall in recalls.items():
        probe = Probe(10, 4, refine, 0, 0)
        measured = measure(gallery, "vector", queries, best.scores[:, :10], probe).recall
        assert recall == pytest.approx(measured, abs=0.005), refine
    candidates = Candidates(gallery, "vector", queries, best, 10, refines)
    whole, until_aim = candidates.recalls(1), candidates.recalls(1, aim=1.0)
    for refine in refines:  # queries that are left out once the aim is missed change no verdict
        assert (until_aim[refine] < 1) == (whole[refine] < 1), refine


def test_the_best_rows_are_those_of_a_scan(tmp_path, fitted, directions) -> None:
    tables = Tables(tmp_path)
    write_gallery(tables, fitted, directions)
    width = tables.open(NAME).schema.field("vector").type.list_size
    queries = np.ones((4, width), np.float32)
    best = best_rows(tables.open(NAME), "vector", queries, [10, 100])[10]
    assert best.scores.shape == best.ids.shape == (4, 10 + 64)
    assert (np.diff(best.scores, axis=1) <= 0).all()
    rows = tables.open(NAME).to_table(columns=["vector"], with_row_id=True)
    score_of = dict(
        zip(rows["_rowid"].to_pylist(), as_matrix(rows["vector"]).sum(axis=1), strict=True)
    )
    np.testing.assert_allclose([score_of[i] for i in best.ids[0].tolist()], best.scores[0], 1e-4)


def test_all_rows_are_scanned_once(galleries, directions, monkeypatch) -> None:
    searches = []
    nearest = OpenGallery._nearest
    monkeypatch.setattr(OpenGallery, "_nearest", lambda *a: searches.append(a) or nearest(*a))
    inputs = [WeightedInput("text", QUERIES[0], 1.0)]
    result = search_corrected(
        galleries["ivf_rq"], inputs, by_modality(directions), ["id"], None, ROWS + 1
    )
    assert result.complete
    assert result.rows.num_rows == ROWS
    assert len(searches) == 1


def test_notes_say_where_search_scans(galleries) -> None:
    for gallery in galleries.values():
        for name in (f"{m}->image {side}" for m in METHODS for side in ("raw", "corrected")):
            depths = {p.depth for p in gallery.index.probes.get(name, ())}
            noted = sum(name in note for note in gallery.index.notes)
            assert gallery.index.type == "flat" or len(depths) + noted in (2, 3)


@pytest.mark.parametrize("kind", ["flat", "ivf_rq", "ivf_hnsw_sq", "ivf_pq"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_complete_is_never_true_when_a_better_item_was_left_out(
    galleries, fitted, directions, kind: str, data
) -> None:
    modalities = data.draw(st.lists(st.sampled_from(list(METHODS)), min_size=1, max_size=3))
    inputs = [
        WeightedInput(m, QUERIES[data.draw(st.integers(0, 59))], data.draw(st.floats(-0.4, 1)))
        for m in modalities
    ]
    active = data.draw(st.sampled_from([{}, directions]))
    limit = data.draw(st.integers(1, 120))
    bound = data.draw(st.none() | st.integers(0, ROWS))
    where = None if bound is None else f"image_width < {bound}"
    result = search_corrected(galleries[kind], inputs, by_modality(active), ["id"], where, limit)
    admitted = np.flatnonzero((ROWS if bound is None else bound) > NUMBERS)
    scores = exact(fitted, active, inputs, admitted)
    best = np.sort(scores[admitted])[::-1][:limit]
    if result.complete:
        np.testing.assert_allclose(result.rows["_score"], best, atol=2e-5)
    if kind == "flat" or (bound is not None and not _threshold(active, modalities)):
        assert result.complete  # a condition leaves few rows here, which are scanned
    assert result.rows.num_rows == len(best) or not result.complete


def _threshold(active, modalities) -> bool:
    """Whether several columns are searched."""
    return bool(active) and "image" in modalities and len(set(modalities)) > 1


def test_a_rare_condition_returns_all_its_rows(galleries, monkeypatch) -> None:
    """Also where the rows are too many to be scanned: the index is probed on."""
    monkeypatch.setattr("store.search.open_gallery.FLAT_ROWS", 3)
    for kind in ("ivf_rq", "ivf_pq", "ivf_hnsw_sq"):
        inputs = [WeightedInput("text", QUERIES[0], 1.0)]
        gallery = replace(galleries[kind])
        gallery._counts.clear()
        rows = search_corrected(gallery, inputs, {}, ["image_width"], "image_width < 8", 10).rows
        assert sorted(rows["image_width"].to_pylist()) == list(range(8)), kind


@pytest.fixture
def measured(monkeypatch) -> list[tuple]:
    """What settings are measured with, one entry each."""
    calls: list[tuple] = []

    def counted(*arguments):
        calls.append(arguments)
        return measure(*arguments)

    monkeypatch.setattr("pipelines.index.choose_probes.measure", counted)
    return calls


def test_new_rows_are_found_at_once(tmp_path, fitted, directions, banks, measured) -> None:
    tables = Tables(tmp_path)
    settings = Index(type="ivf_rq", partitions=24)
    write_gallery(tables, fitted, directions, slice(0, ROWS - 50))
    index = index_gallery(tables, NAME, "image", directions, banks, settings)
    at_first = len(measured)
    write_gallery(tables, fitted, directions, slice(ROWS - 50, None))
    gallery = OpenGallery(tables.open(NAME), "image", index)
    for n in range(ROWS - 50, ROWS, 7):
        inputs = [WeightedInput("image", ITEMS[n], 1.0)]
        assert (
            search_corrected(gallery, inputs, {}, ["id"], None, 1).rows["id"][0].as_py() == f"{n}"
        )
    again = index_gallery(tables, NAME, "image", directions, banks, settings, index)
    assert again.rows == ROWS
    assert len(measured) - at_first < at_first / 2  # settings that still reach the bound are kept
    assert again.probes.keys() == index.probes.keys()
    assert all(p.recall >= again.bound for probes in again.probes.values() for p in probes)


def test_settings_are_measured_again_once_a_twentieth_has_changed(
    tmp_path, fitted, directions, banks, measured
) -> None:
    """Rows that came and left add up over several changes."""
    tables, settings = Tables(tmp_path), Index(type="ivf_rq", partitions=24)
    write_gallery(tables, fitted, directions, slice(0, ROWS - 100))
    index = first = index_gallery(tables, NAME, "image", directions, banks, settings)
    at_first = len(measured)
    write_gallery(tables, fitted, directions, slice(ROWS - 100, ROWS - 50))
    tables.open(NAME).delete("image_width < 40")
    is_deleted = NUMBERS < 40
    left = int(is_deleted[: ROWS - 100].sum())
    came = 50 - int(is_deleted[ROWS - 100 : ROWS - 50].sum())
    index = index_gallery(tables, NAME, "image", directions, banks, settings, index)
    assert (len(measured), index.changed) == (at_first, came + left)
    assert (index.probes, index.notes) == (first.probes, first.notes)
    assert index.rows == tables.open(NAME).count_rows()
    write_gallery(tables, fitted, directions, slice(ROWS - 50, None))
    tables.open(NAME).delete("image_width < 100")
    index = index_gallery(tables, NAME, "image", directions, banks, settings, index)
    assert len(measured) > at_first
    assert index.changed == 0


@pytest.mark.parametrize(
    ("kind", "segments"),
    [
        ("ivf_rq", [1, 2, 3, 1]),
        pytest.param("ivf_hnsw_sq", [1, 2, 3, 1], marks=pytest.mark.slow),
        pytest.param("ivf_pq", [1, 1, 1, 1], marks=pytest.mark.slow),
    ],
)
def test_an_index_is_extended_where_that_is_sound(
    tmp_path, fitted, directions, banks, monkeypatch, kind: str, segments: list[int]
) -> None:
    """The fourth index is built anew, since there are three segments."""
    monkeypatch.setattr("pipelines.index.extend._MOST_SEGMENTS", 3)
    tables, settings, new = Tables(tmp_path), Index(type=kind, partitions=24), 100
    first, index = ROWS - 3 * new, None
    for number, expected in enumerate(segments):
        end = first + number * new
        write_gallery(tables, fitted, directions, slice(end - new if number else 0, end))
        tables.open(NAME).delete(f"image_width = {NUMBERS[number]}")
        index = index_gallery(tables, NAME, "image", directions, banks, settings, index)
        table = tables.open(NAME)
        columns = vector_indexes(table)
        assert {name: len(each.segments) for name, each in columns.items()} == {
            "vector": expected, "vector_image": expected,
        }  # fmt: skip
        others = [i for i in table.describe_indices() if i.field_names[0] not in columns]
        assert {len(i.segments) for i in others} == {number % 3 + 1}
        gallery = OpenGallery(table, "image", index)
        for row in (number + 1, end - 1):
            assert table.count_rows(f"part_id = '{row}'") == 1
            (best_text,) = gallery.match_text(f"item {row}", 1, None)["part_id"].to_pylist()
            assert best_text == f"{row}"
        present = np.arange(number + 1, end)
        shares = []
        for query in np.concatenate([QUERIES, ITEMS[end - 20 : end]]):
            inputs = [WeightedInput("text", query, 1.0)]
            ids = search_corrected(gallery, inputs, by_modality(directions), ["id"], None, 10).rows
            scores = exact(fitted, directions, inputs)[present]
            best = {str(n) for n in present[np.argsort(-scores)[:10]]}
            shares.append(len({*ids["id"].to_pylist()} & best) / 10)
        assert np.mean(shares) >= 0.97
        assert index.rows == len(present)


def test_a_bound_that_is_not_reached_means_a_scan(
    tmp_path, fitted, directions, banks, monkeypatch, measured
) -> None:
    monkeypatch.setattr("pipelines.index.choose_probes._REFINES", (1,))
    monkeypatch.setattr("pipelines.index.choose_probes._widths", lambda *_: iter([1]))
    tables = Tables(tmp_path)
    write_gallery(tables, fitted, directions)
    wanted = Index(type="ivf_pq", partitions=24, recall=1.0)
    index = index_gallery(tables, NAME, "image", directions, banks, wanted)
    assert any("text->image raw: no setting reaches recall@10 of 1" in n for n in index.notes)
    gallery = OpenGallery(tables.open(NAME), "image", index)
    inputs = [WeightedInput("text", QUERIES[0], 1.0)]
    assert search_corrected(gallery, inputs, {}, ["id"], None, 10).complete
    tried = len(measured)
    again = index_gallery(tables, NAME, "image", directions, banks, wanted, index)
    assert len(measured) == tried  # nearly the same gallery would miss the bound again
    assert (again.notes, again.probes) == (index.notes, index.probes)


def test_indexes_are_stored_with_a_release(galleries) -> None:
    indexes: dict[str, GalleryIndex] = {"image": galleries["ivf_rq"].index}
    assert from_description(json.loads(json.dumps(describe(indexes)))) == indexes


def test_a_gallery_without_the_index_of_its_release_is_scanned(
    tmp_path, galleries, fitted, directions
) -> None:
    """Such as one whose table was rewritten by another program."""
    tables = Tables(tmp_path)
    write_gallery(tables, fitted, directions)
    gallery = OpenGallery(tables.open(NAME), "image", galleries["ivf_rq"].index)
    inputs = [WeightedInput("text", QUERIES[0], 1.0)]
    result = search_corrected(gallery, inputs, {}, ["id"], None, 10)
    best = np.argsort(-(ITEMS @ QUERIES[0]))[:10]
    assert result.complete
    assert result.rows["id"].to_pylist() == [str(n) for n in best]


def test_types_by_size() -> None:
    assert [Index().type_for(n) for n in (0, 20_000, 20_001)] == ["flat", "flat", "ivf_rq"]
    assert Index(type="ivf_pq").type_for(5) == "ivf_pq"
    assert [Index().partitions_for("ivf_rq", n) for n in (2, 100_000, 10**8)] == [1, 390, 4096]
