"""Late interaction gives what its formula gives on dense token vectors."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrope import all_of, errors
from store.search import late
from store.search.corpus import Corpus
from store.search.query import Query
from store.tables import tokens
from store.tables.banks import Banks
from store.tables.tokens import TokenSets
from tests.helpers import dense
from tests.helpers.made_release import DIM, SPACE, MadeRelease, make_release, unit

ROWS, WIDTH, BANK = 150, 12, 100
TEXTS = ["zebra lamp", "a river of stone", "violin", "cloud pepper train zebra"]
FINGERPRINTS = {"text": "text@1", "image": "image@1"}


def token_table(modality: str) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """Token vectors of most items and of the bank, as a table and by part."""
    rng = np.random.default_rng(zlib.crc32(modality.encode()))
    parts = [f"{modality}-{n:032x}" for n in range(ROWS) if n % 7]
    parts += [f"{modality}-b{n}" for n in range(BANK)]
    lengths = rng.integers(0, 6, len(parts))
    x = rng.normal(size=(int(lengths.sum()), WIDTH)) + 0.5
    vectors = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    column = tokens.column(TokenSets(vectors, lengths))
    encoders = [tokens.fingerprint(FINGERPRINTS[modality])] * len(parts)
    encoders[3] = "another"  # a row of another encoder does not count
    rows = [parts, [modality] * len(parts), encoders, column]
    table = pa.table(rows, schema=tokens.schema(WIDTH))
    stored = tokens.read_column(pa.chunked_array([column])).split()
    by_part = dict(zip(parts, stored, strict=True))
    by_part.pop(parts[3])
    return table, by_part


TABLES, BY_PART = zip(*(token_table(m) for m in ("image", "text")), strict=True)
TOKENS: dict[str, np.ndarray] = {**BY_PART[0], **BY_PART[1]}


def tokens_of_text(text: str) -> np.ndarray:
    """A vector for each word; none for a text of dots."""
    words = [word for word in text.split() if word != "..."]
    rng = [np.random.default_rng(zlib.crc32(word.encode())) for word in words]
    x = np.array([each.normal(size=WIDTH) for each in rng]).reshape(-1, WIDTH)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def encode(
    space: str,
    config: Mapping[str, Any],
    fingerprints: Mapping[str, str],
    inputs: Mapping[str, Sequence[Any]],
) -> dict[str, np.ndarray]:
    """What encodes queries: a vector of the space, or packed token vectors."""
    (texts,) = inputs.values() if inputs else ([],)
    if not texts:
        return {}
    if tokens.OPTION not in config:
        assert fingerprints["text"] == "text@1"
        rng = np.random.default_rng(zlib.crc32(texts[0].encode()))
        return {"text": np.concatenate([unit(rng, 1) for _ in texts])}
    assert fingerprints["text"] == tokens.fingerprint("text@1")
    own = [tokens_of_text(text) for text in texts]
    lengths = np.array([len(each) for each in own])
    return {"text": tokens.pack(TokenSets(np.concatenate(own), lengths))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    names = [f"tokens__{SPACE}__{m}" for m in ("image", "text")]
    more = dict(zip(names, TABLES, strict=True))
    root = tmp_path_factory.mktemp("late")
    return make_release(root, ROWS, more=more, fingerprints=FINGERPRINTS)


@pytest.fixture(scope="module")
def corpus(made: MadeRelease) -> Corpus:
    return made.corpus.reopened(encode)


def dense_late(
    query: Sequence[tuple[float, str, np.ndarray]], item: str, is_corrected: bool
) -> float:
    """The corrected MaxSim of an item, from the formula. NaN: it has no token vectors."""
    own = TOKENS.get(item, np.zeros((0, WIDTH)))
    if not len(own):
        return float("nan")
    total = 0.0
    for weight, modality, vectors in query:
        bank = np.concatenate([TOKENS.get(f"{modality}-b{n}", own[:0]) for n in range(BANK)])
        bias = [
            dense.nnn(t, bank, None, alpha=late.ALPHA, k=late.NEAREST)[1] if is_corrected else 0
            for t in own
        ]
        if len(vectors):
            total += weight * np.mean([max(own @ q - np.array(bias)) for q in vectors])
    return total


def scaled(values: np.ndarray) -> np.ndarray:
    present = values[~np.isnan(values)]
    return (values - present.mean()) / (present.std() or 1) if len(present) else values


@settings(max_examples=20, derandomize=True)
@given(st.data())
def test_rows_are_ranked_by_the_formula(corpus: Corpus, data: st.DataObject) -> None:
    level = data.draw(st.sampled_from(["image", "text"]))
    method = data.draw(st.sampled_from(["auto", "none"]))
    depth, limit = data.draw(st.integers(1, 160)), data.draw(st.integers(1, 30))
    weight = data.draw(st.floats(0.05, 1))
    text = data.draw(st.sampled_from(TEXTS))
    search = corpus.search(text=text).among(level).correct(method).select("part_id")
    listed = search.limit(max(depth, limit)).to_list()
    query = [(1.0, "text", tokens_of_text(text))]
    expected = np.array([dense_late(query, row["part_id"], method != "none") for row in listed])
    own = scaled(np.array([row["_score"] for row in listed]))
    other = scaled(expected)
    score = np.where(np.isnan(other), own, (1 - weight) * own + weight * other)
    by_part = {row["part_id"]: n for n, row in enumerate(listed)}
    result = search.late(depth, weight).limit(limit).run()
    rows = result.rows.to_pylist()
    assert not result.complete
    assert len(rows) == min(limit, len(listed))
    found = [by_part[row["part_id"]] for row in rows]
    np.testing.assert_allclose([row["_late"] for row in rows], score[found], atol=2e-4)
    np.testing.assert_allclose(np.sort(score)[::-1][: len(rows)], score[found], atol=2e-4)
    for n, row in zip(found, rows, strict=True):
        if np.isnan(expected[n]):
            assert row["_max_sim"] is None
        else:
            assert row["_max_sim"] == pytest.approx(expected[n], abs=1e-4)
        assert row["_score"] == pytest.approx(listed[n]["_score"], abs=1e-5)


def test_inputs_may_be_ids_and_have_weights(corpus: Corpus) -> None:
    part = f"text-{5:032x}"
    search = corpus.search(text=TEXTS[1], ids=part, weights=[0.25, 0.75]).among("image")
    search = search.select("part_id").late(50).limit(50)
    negative = corpus.search(text=TEXTS[1], negative={"text": TEXTS[0]}).among("image")
    with_id = [(0.25, "text", tokens_of_text(TEXTS[1])), (0.75, "text", TOKENS[part])]
    for query, inputs in (
        (search, with_id),
        (
            negative.select("part_id").late(20),
            [(1.0, "text", with_id[0][2]), (-0.5, "text", tokens_of_text(TEXTS[0]))],
        ),
    ):
        weights = [i.weight for i in query.inputs[0]]
        named = [(w, m, v) for w, (_, m, v) in zip(weights, inputs, strict=True)]
        for row in query.to_list():
            expected = dense_late(named, row["part_id"], True)
            if row["_max_sim"] is None:
                assert np.isnan(expected)
            else:
                assert row["_max_sim"] == pytest.approx(expected, abs=1e-4)


def test_a_client_without_encoders_can_give_ids(made: MadeRelease) -> None:
    part = f"text-{5:032x}"
    opened = Corpus(made.corpus.tables)
    rows = opened.search(ids=part).among("image").select("part_id").late().to_list()
    assert rows[0]["_late"] >= rows[1]["_late"]
    by_part = {row["part_id"]: row["_max_sim"] for row in rows}
    for each, score in by_part.items():
        expected = dense_late([(1.0, "text", TOKENS[part])], each, True)
        assert score is None or score == pytest.approx(expected, abs=1e-4)
    with pytest.raises(errors.EncoderError, match="no encoders"):
        opened.search(text="a").late().run()


def test_late_interaction_joins_the_other_options(corpus: Corpus) -> None:
    search = corpus.search(text=TEXTS[3]).among("text").late(40)
    rows = search.to_list()
    assert len(rows) == 10
    assert (np.diff([row["_late"] for row in rows]) <= 0).all()
    assert [row["id"] for row in search.offset(3).limit(2).to_list()] == [
        row["id"] for row in rows[3:5]
    ]
    assert search.range(rows[4]["_late"]).run().rows.num_rows == 5
    assert {"_fused", "_late"} <= search.hybrid().to_list()[0].keys()
    assert {"_expanded", "_late"} <= search.expand().to_list()[0].keys()
    assert len(search.correct("csls").to_list()) == 10
    assert len(search.dedup(0.99).diverse(0.5).to_list()) == 10
    batch = corpus.search(text=TEXTS).among("text").late(40).to_arrow()
    assert batch["query"].to_pylist() == sorted([0, 1, 2, 3] * 10)
    assert search.where("image_width < 0").run().rows.num_rows == 0
    assert any("corrected MaxSim" in note for note in search.run().notes)
    assert any("raw MaxSim" in note for note in search.correct("none").run().notes)
    silent = corpus.search(text="...").among("text").late(40)  # a query without token vectors
    plain = corpus.search(text="...").among("text")
    assert [r["id"] for r in silent.to_list()] == [r["id"] for r in plain.to_list()]


def test_a_bank_that_shares_a_cluster_is_masked(corpus: Corpus) -> None:
    fitted = late.token_correction(corpus, "text", "text")
    assert fitted is not None
    assert fitted is late.token_correction(corpus, "text", "text")
    part = next(n for n in range(BANK) if len(TOKENS.get(f"text-b{n}", [])) > 1)
    own = TOKENS[f"text-b{part}"]
    other, masked = (
        fitted.apply(own, np.array([cluster] * len(own)))[0].bias for cluster in ("x", f"b{part}")
    )
    assert (masked < other - 0.01).all()


def test_the_option_is_written_planned_and_checked(corpus: Corpus) -> None:
    search = corpus.search(text=TEXTS[0]).among("text").late(30, 0.25)
    assert Query.from_json(search.to_json()) == search.value
    assert '"late": {"depth": 30, "weight": 0.25}' in search.to_json()
    assert "late(30, 0.25)" in str(search)
    plan = search.explain()
    assert plan.exact is False
    assert any("token vectors" in step for step in plan.steps)
    for wrong in ((0, 0.5), (10_001, 0.5), (1.5, 0.5), (9, 0), (9, 1.1), (9, float("nan"))):
        with pytest.raises(errors.InputError, match="late"):
            search.late(*wrong)


def test_queries_that_cannot_be_compared_are_refused(
    corpus: Corpus, made: MadeRelease, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = corpus.search(text=TEXTS[0]).late()
    for level in ("any", "sample"):
        with pytest.raises(errors.InputError, match="ranks one gallery anew"):
            text.among(level).run()
    with pytest.raises(errors.InputError, match="vector has no token vectors"):
        corpus.search(vectors={"text": np.ones(DIM)}).late().run()
    both = all_of(*(corpus.search(text=each) for each in TEXTS[:2]))
    with pytest.raises(errors.InputError, match="compound"):
        both.late().run()
    without = make_release(tmp_path_factory.mktemp("without"), 30).corpus.reopened(encode)
    with pytest.raises(errors.InputError, match="release 1 has no token vectors of image"):
        without.search(ids=f"image-{3:032x}").late().run()
    narrow = np.zeros((1, tokens.MOST * 5), np.float32)
    narrow[0, :5] = 1

    def encode_narrow(space: str, config: Any, fingerprints: Any, inputs: Any) -> Any:
        if tokens.OPTION in config:
            return {"text": narrow}
        return encode(space, config, fingerprints, inputs)

    with pytest.raises(errors.InputError, match="5 dimensions, those of the items 12"):
        made.corpus.reopened(encode_narrow).search(text="a").among("text").late().run()


def test_explain_says_which_tokens_matched(corpus: Corpus) -> None:
    for method in ("auto", "none"):
        search = corpus.search(text=TEXTS[3]).among("text").correct(method).select("part_id")
        for hit in search.late(40).limit(8).run():
            explanation = hit.explain()
            own, query = TOKENS.get(hit["part_id"], []), tokens_of_text(TEXTS[3])
            assert len(explanation.tokens) == (len(query) if len(own) else 0)
            for match in explanation.tokens:
                scores = query[match.query] @ own.T
                assert match.cosine == pytest.approx(scores[match.item], abs=1e-4)
                assert method == "auto" or match.bias == 0
                assert str(match) in explanation._repr_html_()
            if len(own):
                total = np.mean([match.cosine - match.bias for match in explanation.tokens])
                assert total == pytest.approx(hit["_max_sim"], abs=1e-4)
                assert [match.query for match in explanation.tokens] == list(range(len(query)))
    batch = corpus.search(text=TEXTS).among("text").late(40).limit(2).run()
    lengths = [len(tokens_of_text(TEXTS[n])) for n in batch.rows["query"].to_pylist()]
    for n, length in enumerate(lengths):
        assert len(batch.explain(n).tokens) in (0, length)
    assert corpus.search(text=TEXTS[0]).limit(1).run().explain(0).tokens == ()


def test_without_tokens_of_queries_the_corpus_is_the_bank(
    made: MadeRelease, corpus: Corpus
) -> None:
    """As where queries of the log are the bank, which are vectors alone."""
    expected = late.token_correction(corpus, "text", "text")
    other = made.corpus.reopened(encode)
    rows = other.banks.table
    column = rows.schema.get_field_index("split")
    of_text = np.array(rows["modality"].to_pylist()) == "text"
    parts = pa.array([f"logged-{n}" for n in range(int(of_text.sum()))])
    logged = rows.filter(pa.array(of_text))
    logged = logged.set_column(column, rows.field("split"), pa.array(["queries"] * len(parts)))
    part = rows.schema.get_field_index("part_id")
    logged = logged.set_column(part, rows.field("part_id"), parts)
    other.__dict__["banks"] = Banks(pa.concat_tables([rows, logged.cast(rows.schema)]))
    assert other.banks.query_split("text") == "queries"
    fitted = late.token_correction(other, "text", "text")
    assert fitted is not None
    assert expected is not None
    own = next(v for v in BY_PART[1].values() if len(v))
    clusters = np.array(["x"] * len(own))
    np.testing.assert_allclose(
        fitted.apply(own, clusters)[0].bias, expected.apply(own, clusters)[0].bias, atol=1e-6
    )
