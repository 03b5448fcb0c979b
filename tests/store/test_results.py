"""Results as data frames, as JSON text, and as HTML for notebooks."""

import base64
import io
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import isotrope
from isotrope import errors
from store.search.cards import MAX_CARDS, Card
from store.search.html_view import html_view
from store.search.release_items import Original
from store.search.result import Result
from store.workspace import Workspace

HOSTILE = "<script>alert(\"1\")</script><img src=x onerror='alert(2)'> &lt; ]]> -->"
COLUMNS = ("key", "caption", "part_id", "sample_ids", "thumbnail", "image_width", "text_language")


@pytest.fixture(scope="module")
def corpus(stored: Workspace) -> isotrope.Corpus:
    return isotrope.connect(stored.root)


def test_polars_has_the_same_rows(corpus: isotrope.Corpus) -> None:
    search = corpus.search(text="a red square number 15").among("any").select(*COLUMNS)
    frame = search.to_polars()
    assert frame.to_dicts() == search.to_list()
    assert frame.columns == search.to_arrow().column_names


def test_a_missing_polars_names_its_extra(
    corpus: isotrope.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(errors.MissingPackageError, match=r"pip install 'isotrope\[polars\]'"):
        corpus.search(text="x").to_polars()


@pytest.mark.parametrize("text", ["a red square number 15", ["a red square", "a blue square"]])
def test_json_is_read_back(corpus: isotrope.Corpus, text: str | list[str]) -> None:
    result = corpus.search(text=text).among("any").select(*COLUMNS).run()
    assert Result.from_json(result.to_json()) == result
    assert Result.from_json(result.to_json().encode()).rows.schema == result.rows.schema


values = st.fixed_dictionaries(
    {
        "id": st.text(st.characters(exclude_categories=["Cs"])),
        "_score": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "thumbnail": st.none() | st.binary(max_size=9),
        "count": st.none() | st.integers(-(2**31), 2**31 - 1),
        "names": st.none() | st.lists(st.text("ab<>\"'\x00"), max_size=3),
    }
)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), False),
        pa.field("_score", pa.float32()),
        pa.field("thumbnail", pa.large_binary()),
        pa.field("count", pa.int32()),
        pa.field("names", pa.list_(pa.string())),
    ]
)


@given(st.lists(values, max_size=4), st.booleans(), st.lists(st.text("a é"), max_size=2))
def test_any_rows_are_read_back(rows: list[dict], complete: bool, notes: list[str]) -> None:
    result = Result(pa.Table.from_pylist(rows, schema=SCHEMA), complete, tuple(notes), 0.993)
    assert Result.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        "",
        "[]",
        "{}",
        '{"types": {}, "rows": []}',
        '{"types": {"id": "nonsense"}, "rows": []}',
        '{"types": {"id": 3}, "rows": []}',
        '{"types": {"id": "int32"}, "rows": [{"id": "text"}], "complete": true}',
        '{"types": {"id": "binary"}, "rows": [{"id": "no base64!"}]}',
        '{"types": {"id": "string"}, "rows": [{"key": "a"}]}',
    ],
)
def test_other_texts_are_refused(text: str | bytes) -> None:
    with pytest.raises(errors.InputError):
        Result.from_json(text)


class Page(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def sources(page: Page) -> list[bytes]:
    """The contents of all data URLs of pictures and players."""
    urls = [str(e["src"]) for e in page.named("img") + page.named("audio")]
    return [
        base64.b64decode(re.sub("^data:[a-z]+/[a-z]+;base64,", "", u), validate=True) for u in urls
    ]


def test_a_notebook_shows_thumbnails_scores_keys_and_captions(corpus: isotrope.Corpus) -> None:
    result = corpus.search(text="a red square number 15").limit(5).run()
    page = Page(result._repr_html_())
    rows = corpus.search(text="a red square number 15").limit(5).select(*COLUMNS).to_list()
    assert sources(page) == [corpus.thumbnail(row["part_id"]) for row in rows]
    for row in rows:
        assert row["key"] in page.text
        assert row["caption"] in page.text
        assert f"{row['_score']:.3f}" in page.text
    assert "5 rows, exact" in page.text


def test_a_view_is_bounded_and_loads_nothing(corpus: isotrope.Corpus) -> None:
    result = corpus.search(text=["red", "blue"]).among("any").limit(300).run()
    html = result._repr_html_()
    page = Page(html)
    assert result.rows.num_rows > 2 * MAX_CARDS
    assert html.count('class="card"') == MAX_CARDS
    assert f"the first {MAX_CARDS} are shown" in page.text
    assert "query 0" in page.text
    assert not re.search(r"https?:|url\(|@import|<link|<script|<iframe", html)


def test_hostile_captions_and_keys_are_escaped() -> None:
    hit = {"id": "0" * 32, "modality": "image", "rank": 1, "_score": 0.5}
    texts = {**hit, "modality": "text", "rank": 2}
    cards = [Card(HOSTILE, HOSTILE, b"\xff\xd8\xff"), Card(HOSTILE, HOSTILE + "x" * 10_000)]
    html = html_view([hit, texts], cards, [HOSTILE])
    page = Page(html)
    assert {tag for tag, _ in page.elements} == {"style", "div", "img", "span"}
    assert page.named("img") == [
        {"src": "data:image/jpeg;base64,/9j/", "alt": " ".join(HOSTILE.split())}
    ]
    assert page.text.count("<script>") == 5  # a remark, two keys and two captions, as text
    assert len(html) < 20_000


def test_a_recording_has_a_player() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(800), 8000, format="WAV")
    hit = {"id": "0" * 32, "modality": "audio", "rank": 1, "_score": 0.5, "_calibrated": 1.25}
    card = Card("song", "a song", None, Original(file.getvalue(), "audio/wav"))
    page = Page(html_view([hit], [card], []))
    assert sources(page) == [file.getvalue()]
    assert "1.250" in page.text
    unsafe = card._replace(recording=Original(b"<script>", "text/html"))
    assert Page(html_view([hit], [unsafe], [])).named("audio") == []


def test_a_view_without_its_tables_shows_the_rows(corpus: isotrope.Corpus) -> None:
    result = corpus.search(text="a red square number 15").select("key", "thumbnail").run()
    alone = Result.from_json(result.to_json())
    pictures = [e["src"] for e in Page(result._repr_html_()).named("img")]
    assert [e["src"] for e in Page(alone._repr_html_()).named("img")] == pictures


def test_a_view_says_why_it_has_no_thumbnails(corpus: isotrope.Corpus) -> None:
    def fail(_: int) -> list[Card]:
        raise errors.ServerError("the server does not answer")

    result = replace(corpus.search(text="a red square number 15").run(), read_cards=fail)
    page = Page(result._repr_html_())
    assert "cannot be read: the server does not answer" in page.text
    assert "red-0015" in page.text


def test_an_empty_result_has_a_view(corpus: isotrope.Corpus) -> None:
    page = Page(corpus.search(text="x").where("image_width > 9999").run()._repr_html_())
    assert "0 rows" in page.text
