"""A query is a value: immutable, comparable, the same after JSON, and strict about wrong input."""

import base64
import io
import json
import string
import wave
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isotrope import errors
from store.search.inputs import MAX_INPUTS, MAX_QUERIES
from store.search.query import Query
from store.search.search import Search

TEXTS = st.text(min_size=1, max_size=20)
VECTORS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=5).filter(any)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    arguments = {
        "text": draw(st.none() | TEXTS | st.lists(TEXTS, min_size=2, max_size=2)),
        "image": draw(st.none() | st.binary(min_size=1, max_size=9)),
        "vectors": draw(st.none() | st.dictionaries(st.sampled_from(["text", "audio"]), VECTORS)),
        "ids": draw(st.none() | st.lists(st.text(string.hexdigits, min_size=1), min_size=1)),
        "negative": draw(st.none() | st.just({"text": "a dog"})),
    }
    if not any(arguments[name] for name in ("text", "image", "vectors", "ids")):
        arguments["text"] = "a cat"
    query = Query.of(**arguments).among(draw(st.sampled_from(["image", "text", "any", "sample"])))
    query = query.limit(draw(st.integers(1, 50))).offset(draw(st.integers(0, 50)))
    if draw(st.booleans()):
        query = query.correct("csls", k=draw(st.integers(1, 20))).where("image_width > 5")
    if draw(st.booleans()):
        query = query.range(draw(st.floats(-1, 1))).timeout(2.5).release(3).select("key", "drops")
        query = query.dedup(0.9).diverse(0.5)
    if draw(st.booleans()):
        query = query.hybrid(draw(TEXTS), draw(st.floats(0.1, 1)))
    return query


@given(queries(), st.booleans())
def test_json_and_back_gives_the_same_query(query: Query, packed: bool) -> None:
    back = Query.from_json(query.to_json(packed))
    assert unweighted(back) == unweighted(query)
    for mine, theirs in zip(back.inputs, query.inputs, strict=True):  # weights are scaled again
        for i, j in zip(mine, theirs, strict=True):
            assert i.weight == pytest.approx(j.weight, rel=1e-12)
    assert hash(back) == hash(Query.from_json(query.to_json()))
    assert str(query).startswith("search(")


def unweighted(query: Query) -> Query:
    inputs = tuple(tuple(replace(i, weight=1.0) for i in each) for each in query.inputs)
    return replace(query, inputs=inputs)


def test_a_query_is_immutable_and_can_be_a_key() -> None:
    query = Query.of(text="a cat", vectors={"image": np.ones(4)})
    longer = query.limit(50)
    assert (query.count, longer.count) == (10, 50)
    assert {query: 1}[Query.of(text="a cat", vectors={"image": [1, 1, 1, 1]})] == 1
    assert "0.5 * text='a cat'" in str(query)
    assert "image_vector=<vector of 4 numbers>" in str(query)


def test_weights_are_scaled_and_negatives_are_not() -> None:
    query = Query.of(text="a", ids=["x", "y"], weights=[2, 1, 1], negative={"text": ["b"]})
    assert [i.weight for i in query.inputs[0]] == [0.5, 0.25, 0.25, -0.5]
    query = Query.of("a", negative={"text": "b", "image": b"c", "weights": [0.1, 0.2]})
    assert [i.weight for i in query.inputs[0]] == [1, -0.1, -0.2]


def test_lists_make_a_batch() -> None:
    query = Query.of(text=["a", "b"], image=b"c", vectors={"audio": np.ones((2, 3))})
    assert query.is_batch
    assert [[i.kind for i in inputs] for inputs in query.inputs] == [
        ["text", "image", "vector"]
    ] * 2
    assert not Query.of(text="a", ids=["x", "y"]).is_batch
    assert Query.of(text=["a"]).is_batch


def test_media_become_encoded_bytes(tmp_path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    array = Query.of(image=pixels).inputs[0][0].read()
    image = Query.of(image=Image.fromarray(pixels)).inputs[0][0].read()
    assert array == image
    assert (np.asarray(Image.open(io.BytesIO(array))) == pixels).all()
    cmyk = Query.of(image=Image.new("CMYK", (2, 2))).inputs[0][0].read()
    assert Image.open(io.BytesIO(cmyk)).mode == "CMYK"
    path = tmp_path / "x.png"
    path.write_bytes(array)
    query = Query.of(image=path)
    assert base64.b64decode(json.loads(query.to_json())["inputs"][0]["image"]) == array


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, np.int32])
def test_samples_become_a_recording(kind: type) -> None:
    soundfile = pytest.importorskip("soundfile")
    samples = np.sin(np.arange(800) / 9)
    given = samples if kind in (np.float32, np.float64) else samples * np.iinfo(kind).max
    data = Query.of(audio=(given.astype(kind), 16_000)).inputs[0][0].read()
    read, rate = soundfile.read(io.BytesIO(data))
    assert rate == 16_000
    np.testing.assert_allclose(read, samples, atol=1e-4)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "needs an input"),
    ({"text": 3}, "takes a string"),
    ({"text": "x" * 200_000}, "characters"),
    ({"text": []}, "one length"),
    ({"text": ["a", "b"], "image": [b"c"]}, "one length"),
    ({"text": ["a"] * (MAX_QUERIES + 1)}, "at most"),
    ({"ids": ["a"] * (MAX_INPUTS + 1)}, "at most"),
    ({"image": 3}, "takes a path"),
    ({"image": np.zeros((4, 4), float)}, "uint8"),
    ({"image": np.zeros((4, 4, 7), np.uint8)}, "uint8"),
    ({"audio": (np.zeros(5),)}, "samples, rate"),
    ({"audio": ("noise", 16_000)}, "samples"),
    ({"audio": (np.zeros((2, 2, 2)), 16_000)}, "shape"),
    ({"audio": (np.zeros(5), "fast")}, "rate"),
    ({"audio": (np.zeros(5), float("nan"))}, "rate"),
    ({"vectors": [1.0]}, "takes {modality"),
    ({"vectors": {"smell": [1.0]}}, "not a modality"),
    ({"vectors": {"text": "vector"}}, "real numbers"),
    ({"vectors": {"text": ["a", "b"]}}, "real numbers"),
    ({"vectors": {"text": [1j, 2]}}, "real numbers"),
    ({"vectors": {"text": [1.0, [2.0]]}}, "real numbers"),
    ({"vectors": {"text": [None]}}, "real numbers"),
    ({"vectors": {"text": [float("nan")]}}, "finite"),
    ({"vectors": {"text": [1e300]}}, "finite"),
    ({"vectors": {"text": [0.0]}}, "non-zero"),
    ({"vectors": {"text": []}}, "shape"),
    ({"vectors": {"text": 1.0}}, "shape"),
    ({"ids": 3}, "ids="),
    ({"ids": []}, "ids="),
    ({"ids": [""]}, "ids="),
    ({"text": "a", "weights": ["1"]}, "non-negative number"),
    ({"text": "a", "weights": "1"}, "non-negative number"),
    ({"text": "a", "weights": 1}, "non-negative number"),
    ({"text": "a", "weights": [1, 2]}, "non-negative number"),
    ({"text": "a", "weights": [float("inf")]}, "non-negative number"),
    ({"text": "a", "weights": [True]}, "non-negative number"),
    ({"text": "a", "negative": {}}, "negative="),
    ({"text": "a", "negative": "b"}, "negative="),
    ({"text": "a", "negative": {"smell": "b"}}, "negative="),
    ({"text": "a", "negative": {"text": "b", "weights": ["1"]}}, "negative"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_arguments_are_typed_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        Query.of(**arguments)


def test_wrong_options_are_typed_errors() -> None:
    query = Query.of(text="x")
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("limit", (0,)), ("limit", (True,)), ("limit", ("3",)), ("limit", (10_001,)),
        ("offset", (-1,)), ("offset", (1.5,)), ("range", ("high",)), ("range", (float("nan"),)),
        ("timeout", (0,)), ("timeout", (float("inf"),)), ("release", (0,)), ("among", ("video",)),
        ("among", (["image"],)), ("where", ("",)), ("where", (3,)), ("where", ("x" * 20_000,)),
        ("select", (3,)), ("select", ("x",) * 200), ("correct", ("magic",)), ("correct", (3,)),
    ]  # fmt: skip
    for name, arguments in calls:
        with pytest.raises(errors.InputError):
            getattr(query, name)(*arguments)
    with pytest.raises(errors.InputError, match="corpus"):
        Search(query.inputs).run()


HOSTILE = [
    b"", b"null", b"[]", b"{}", b"{", b"\xff", b'{"inputs": []}', b"[" * 100_000,
    b'{"inputs": [{}]}', b'{"inputs": [{"text": "a", "image": "YQ=="}]}',
    b'{"inputs": [{"text": 3}]}', b'{"inputs": [{"text": "a", "weight": NaN}]}',
    b'{"inputs": [{"text": "a", "weight": 1e999}]}', b'{"inputs": [{"text": "a", "weight": -1}]}',
    b'{"inputs": [{"text": "a", "weight": true}]}', b'{"inputs": [{"text": "a", "path": "/"}]}',
    b'{"inputs": [{"image": "/etc/passwd"}]}', b'{"inputs": [{"image": {"path": "/etc/passwd"}}]}',
    b'{"inputs": [{"vector": [1.0]}]}', b'{"inputs": [{"vector": ["1"], "modality": "text"}]}',
    b'{"inputs": [{"vector": [1.0], "modality": "smell"}]}',
    b'{"inputs": [{"vector": [0.0], "modality": "text"}]}',
    b'{"inputs": [{"vector": "", "modality": "text"}]}',  # no numbers
    b'{"inputs": [{"vector": "AAA", "modality": "text"}]}',  # no base64
    b'{"inputs": [{"vector": "AAAA", "modality": "text"}]}',  # three bytes
    b'{"inputs": [{"vector": "AACAfw==", "modality": "text"}]}',  # infinity
    b'{"inputs": [{"vector": "\xc3\xa4AAA", "modality": "text"}]}',
    b'{"inputs": [{"vector": "AACAPwAAgD8=", "modality": "text", "text": "two"}]}',
    b'{"inputs": [{"id": ""}]}', b'{"inputs": [{"text": "a"}], "queries": [[{"text": "a"}]]}',
    b'{"queries": []}', b'{"queries": [[]]}', b'{"inputs": [{"text": "a"}], "limit": "3"}',
    b'{"inputs": [{"text": "a"}], "limit": 1e9}', b'{"inputs": [{"text": "a"}], "limit": -1}',
    b'{"inputs": [{"text": "a"}], "among": "video"}', b'{"inputs": [{"text": "a"}], "among": []}',
    b'{"inputs": [{"text": "a"}], "correct": {"method": "csls", "params": {"k": "x"}}}',
    b'{"inputs": [{"text": "a"}], "correct": {"method": "csls", "params": {"self": 1}}}',
    b'{"inputs": [{"text": "a"}], "correct": "x"}', b'{"inputs": [{"text": "a"}], "where": 1}',
    b'{"inputs": [{"text": "a"}], "timeout": 0}', b'{"inputs": [{"text": "a"}], "more": 0}',
    b'{"inputs": [{"text": "a"}], "release": 1.5}', b'{"inputs": [{"text": "a"}], "inputs": []}',
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE)
def test_hostile_json_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(errors.InputError):
        Query.from_json(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
FIELDS = ["inputs", "queries", "among", "correct", "where", "select", "limit", "offset", "hybrid"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_json_is_a_query_or_a_typed_error(fields: dict[str, Any]) -> None:
    fields.setdefault("inputs", [{"text": "a"}])
    try:
        query = Query.from_json(json.dumps(fields))
    except errors.InputError:
        return
    assert Query.from_json(query.to_json()) == query


def test_a_recording_in_json_is_what_was_sent() -> None:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(b"\0\1" * 50)
    query = Query.from_json(Query.of(audio=out.getvalue()).to_json())
    assert query.inputs[0][0].read() == out.getvalue()
