"""The corpus report, of a corpus with hostile texts, and its plots."""

import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipelines.reports import histograms, plots, retrieval_plots
from pipelines.reports.corpus_report import Search, write_report
from store import metrics
from store.tables import releases, schema
from store.tables.direction import Direction
from store.workspace import Workspace
from tests.helpers.pages import Tags

HOSTILE = '<script>alert("1")</script><img src="https://example.com/x.png" onerror=alert(2)>'
DIM = 4
FIGURES = {"r@1": 0.1, "r@5": 0.3, "r@10": 0.4, "mrr": 0.2, "median_rank": 9.0, "k_skewness": 5.5}
BETTER = {**FIGURES, "r@1": 0.25, "mrr": 0.325, "median_rank": float("nan"), "k_skewness": 1.5}


def _thumbnail() -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(encoded, "jpeg")
    return encoded.getvalue()


def _put(tables, name, table_schema, rows):
    full = [{f.name: row.get(f.name) for f in table_schema} for row in rows]
    table = pa.Table.from_pylist(full, schema=table_schema)
    tables.replace(name, table_schema, table.to_batches(), None)


def _stage(drop, stage, kept, rejected=0, failed=0):
    counts = {"input": kept + rejected + failed, "kept": kept, "rejected": rejected}
    rest = {"failed": failed, "units": 1, "resumed": 0, "seconds": 1.0, "run_key": "", "output": ""}
    when = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    return {"drop": drop, "stage": stage, **counts, **rest, "published_at": when}


def _direction(query, gallery, method, reason):
    return Direction(query, gallery, method, {}, reason, 200)


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "corpus.yaml").write_text("sources:\n  all: {path: drops}\n")
    corpus = Workspace.open(tmp_path)
    stages = [
        _stage("one", "samples", 5, 2, 1),
        _stage("one", "signals", 5),
        _stage(HOSTILE, "samples", 4),
        _stage(HOSTILE, "signals", 4),
        _stage("*", "duplicates", 9),
        _stage("*", "decisions", 7, 2),
    ]
    _put(corpus.tables, "stages", schema.STAGES, stages)
    lost = {"drop": "one", "stage": "samples", "source": "s"}
    small = {"outcome": "rejected", "rule": "image_pixels", "value": None, "threshold": "9"}
    ledger = [
        {**lost, **small, "key": HOSTILE},
        {**lost, **small, "key": "later", "value": "another record's"},
        {**lost, "key": "k3", "outcome": "failed", "rule": "unreadable", "error": HOSTILE},
    ]
    _put(corpus.tables, "ledger", schema.LEDGER, ledger)
    samples = [
        {"drop": "one" if i < 5 else HOSTILE, "id": f"id{i}", "source": "s", "key": f"key-{i}"}
        for i in range(9)
    ]
    _put(corpus.tables, "samples", schema.SAMPLES, samples)
    reason = {"rule": "text_chars.max", "value": "2001", "threshold": "2000"}
    decided = [
        {**s, "keep": i < 7, "policy": "p", **({} if i < 7 else reason)}
        for i, s in enumerate(samples)
    ]
    _put(corpus.tables, "decisions", schema.DECISIONS, decided)
    return corpus


@pytest.fixture
def released(workspace):
    wide = schema.gallery(DIM)
    row = {"part_id": "p", "vector": [1.0] + 15 * [0.0], "id": "id0", "sample_ids": [], "drops": []}
    row |= {"hub_image": False, "hub_text": False, "hub_audio": False}
    row |= {"bias_image": 0.0, "bias_text": 0.0, "bias_audio": 0.0, "cluster": "c", "key": "k"}
    versions = {}
    for modality in ("image", "text"):
        name = f"gallery__local__{modality}"
        _put(workspace.tables, name, wide, [row])
        versions[name] = workspace.tables.version(name)
    directions = [
        _direction("text", "image", "none", "raw, because nothing was better"),
        _direction("image", "text", "nnn", "nnn gains on held-out pairs"),
        _direction("image", "image", "none", "there are no pairs"),
    ]
    figures = {"queries": 20, "gallery": 1, "raw": FIGURES, "corrected": FIGURES}
    figures["k_occurrence"] = {"raw": [5, 1, 0, 1], "corrected": [2, 5]}
    better = {**figures, "corrected": BETTER, "gain": {"mean": 0.125, "low": -0.01, "high": 0.2}}
    releases.publish(
        workspace.tables,
        space="local",
        space_config={"preset": "local"},
        dim=DIM,
        fingerprints={"image": "a@1", "text": "b@1"},
        banks={},
        versions=versions,
        directions={d.name: d for d in directions},
        evaluation={"text->image": figures, "image->text": better},
        policy="p",
    )
    return workspace


def _searches():
    hit = {"id": "i", "_score": 0.25, "_raw_score": 0.75, "_bias": 0.5, "key": "k"}
    image = {**hit, "rank": 1, "modality": "image", "caption": HOSTILE, "thumbnail": _thumbnail()}
    text = {**hit, "rank": 2, "modality": "text", "caption": "x" * 100_000}
    svg = {**text, "caption": None, "thumbnail": b"<svg onload=alert(3)>"}
    return [
        Search(HOSTILE, HOSTILE, None, [image, text], "nnn", True),
        Search("by image", None, _thumbnail(), [text, svg], "csls", False),
        Search("nothing", "a cat", b"not an image", [], "none", True),
    ]


def _page(workspace, searches=()) -> tuple[str, Tags]:
    out = workspace.root / "pages" / "report.html"
    assert write_report(workspace, out, list(searches)) == out
    page = out.read_text(encoding="utf-8")
    return page, Tags(page)


def test_hostile_texts_are_escaped(released):
    page, found = _page(released, _searches())
    names = {tag for tag, _ in found.tags}
    assert not names & {"script", "iframe", "object", "link", "svg", "form", "base"}
    assert not [a for _, attrs in found.tags for a in attrs if a.startswith("on")]
    assert found.text.count('<script>alert("1")</script>') >= 5
    assert len(page) < 400_000


def test_the_page_loads_nothing(released):
    page, found = _page(released, _searches())
    urls = [attrs[n] for _, attrs in found.tags for n in ("src", "srcset", "href") if n in attrs]
    assert len(urls) > 5
    assert all(url.startswith("data:image/") for url in urls)
    assert not re.search(r"url\(|@import", page)
    policy = [a["content"] for t, a in found.tags if a.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_counts_are_those_of_the_tables(released):
    _, found = _page(released)
    assert "samples samples 12 9 2 1" in found.text
    assert "decisions samples 9 7 2 0" in found.text
    assert "Drop one" in found.text
    assert "samples samples 8 5 2 1 signals samples 5 5 0 0 decisions samples 5 5 0 0" in found.text
    assert "signals samples 4 4 0 0 decisions samples 4 2 2 0" in found.text


def test_reasons_come_with_one_record_as_example(released):
    _, found = _page(released)
    assert "text_chars.max rejected in decisions 2 key-7 2001 2000" in found.text
    assert "unreadable failed in samples 1 k3" in found.text
    assert "another record's" not in found.text


def test_raw_and_corrected_measures_are_compared(released):
    _, found = _page(released)
    assert "R@1 10.0% 25.0%" in found.text
    assert "Median rank 9.0 –" in found.text
    assert "+0.125" in found.text
    assert "−0.010 to +0.200" in found.text
    assert "No correction: raw, because nothing was better." in found.text
    assert "R@1 10.0% R@5" in found.text
    assert "image → image No correction: there are no pairs." in found.text


def test_searches_show_scores(released):
    _, found = _page(released, _searches())
    assert "0.250 raw 0.750" in found.text
    assert "Corrected by csls; the best of the candidates that were fetched." in found.text
    assert "no results" in found.text


def test_a_corpus_without_release_or_stages_has_a_page(workspace, tmp_path):
    _, found = _page(workspace)
    assert "none yet" in found.text
    assert "text_chars.max" in found.text
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "corpus.yaml").write_text("sources:\n  all: {path: drops}\n")
    _, found = _page(Workspace.open(empty))
    assert "No record was lost." in found.text


PAIRS = {"low": -0.2, "high": 0.8, "matching": [0, 1, 5], "unrelated": [9, 2, 0], "auc": 0.9}
TRIED = [
    {"method": "none", "params": {}, "mrr": 0.2, "r@1": 0.1, "gain": [0, 0, 0]},
    {"method": "nnn", "params": {"k": 1}, "mrr": 0.25, "r@1": 0.2, "gain": [0.05, 0.01, 0.09]},
    {"method": "nnn", "params": {"k": 9}, "mrr": 0.15, "r@1": 0.1, "gain": [-0.05, -0.1, 0]},
    {"method": "csls", "mrr": 0.3, "r@1": 0.2, "gain": {"mean": 0.1, "low": 0.0, "high": 0.2}},
    {"method": "invgc_local+inverted_softmax", "mrr": 0.1},
]


def test_intervals_languages_and_plots_are_shown_if_there_are_any(released):
    last = releases.latest_release(released.tables)
    found = dict(last.evaluation["image->text"])
    found["intervals"] = {"raw": {"r@1": {"mean": 0.1, "low": 0.05, "high": 0.15}}}
    found |= {"protocol": "inductive", "alignment": 1.25, "similarities": dict.fromkeys(
        ("raw", "corrected"), PAIRS)}  # fmt: skip
    found["raw"] = {**FIGURES, "map": 0.5, "anti_hub_share": 0.25}
    found["corrected"] = {**BETTER, "map": 0.5, "anti_hub_share": 0.125}
    found["languages"] = {"queries": {"en": 9, HOSTILE: 4}}
    for side, variance in (("raw", 1234.5), ("corrected", 99.0)):
        scores = {"en": 0.5, HOSTILE: 0.25}
        found["languages"][side] = {"mean_rank_variance": variance, "r@10": scores}
    directions = {n: replace(d, tried=TRIED) for n, d in last.directions.items()}
    releases.publish(
        released.tables,
        space="local",
        space_config={},
        dim=DIM,
        banks={},
        fingerprints={},
        versions=last.versions,
        directions=directions,
        evaluation={"image->text": found},
        policy="p",
    )
    page, shown = _page(released)
    assert "R@1 10.0% 5.0% to 15.0% 25.0%" in shown.text
    assert "Mean average precision 0.500 0.500" in shown.text
    assert "Items in no top ten 25.0% 12.5%" in shown.text
    assert "20 queries, 1 items, inductive; alignment 1.250" in shown.text
    assert "mean rank variance 1,234 raw, 99 corrected" in shown.text
    assert "en 9 50.0% 50.0%" in shown.text
    assert page.count("<figure>") == 3


def test_best_settings_has_one_row_for_each_method():
    best = retrieval_plots.best_settings([*TRIED, {"method": "broken"}])
    assert [row["mrr"] for row in best] == [0.3, 0.25, 0.2, 0.1]


SKEWED = [90_000, *np.arange(900, 0, -1).tolist(), *[0] * 5000, 1]
PANELS = [
    histograms.Panel(
        "a_$b",
        np.array([3, 0, 9]),
        np.array([0.0, 1, 10, 100]),
        [histograms.Mark("min 5", 5, "low"), histograms.Mark("max 999", 999, "high")],
    ),
    *(histograms.Panel(f"c{i}", np.array([i]), np.array([0.0, 1])) for i in range(4)),
]
DRAWN = {
    "funnel": lambda dark: plots.funnel([plots.Bar("$x", 10**9, 5, 1), plots.Bar("b", 3)], dark),
    "empty funnel": lambda dark: plots.funnel([], dark),
    "k-occurrence": lambda dark: retrieval_plots.k_occurrence(
        {"raw": SKEWED, "corrected": [3, 2]}, dark
    ),
    "no occurrence": lambda dark: retrieval_plots.k_occurrence({"raw": []}, dark),
    "similarities": lambda dark: retrieval_plots.similarities(
        {"raw": PAIRS, "corrected": PAIRS}, dark
    ),
    "no similarities": lambda dark: retrieval_plots.similarities(
        {"raw": metrics.histograms(np.empty(0), np.empty(0))}, dark
    ),
    "methods": lambda dark: retrieval_plots.methods(TRIED, "nnn", dark),
    "histograms": lambda dark: histograms.histograms(PANELS, dark),
    "histograms of nothing": lambda dark: histograms.histograms([], dark),
}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", DRAWN)
def test_plots_are_small_pngs(name, dark):
    drawn = DRAWN[name](dark)
    assert len(drawn) < 60_000
    with Image.open(io.BytesIO(drawn)) as image:
        assert image.format == "PNG"
        corner = image.convert("L").getpixel((0, 0))
        assert corner < 60 if dark else corner > 200
        blank = len(image.convert("RGB").getcolors(1 << 20)) == 1
        assert blank == (name in ("empty funnel", "histograms of nothing"))


def test_a_histogram_of_a_page_has_bars_limits_and_labels():
    label = 'keep_top 5 of <script>\x07$a_b$ "\u4e2d"'
    marks = [histograms.Mark(label, 5, "low"), histograms.Mark("max 999", 999, "high")]
    panel = histograms.Panel('a"<b>', np.array([3, 0, 9]), np.array([0.0, 1, 10, 100]), marks)
    (markup, again) = histograms.page_histograms([panel, panel._replace(marks=[])])
    drawn = ElementTree.fromstring(markup)  # a parser of XML refuses what is not escaped
    assert drawn.attrib["aria-label"] == 'histogram of a"<b>'
    assert [g.attrib["id"] for g in drawn] == ['histogram-a"<b>']
    texts = [text.text for text in drawn.iter("text")]
    assert texts == [label.replace("\x07", " "), "max 999 →", "0", "1", "10", "100"]
    styles = [path.attrib["style"] for path in drawn.iter("path")]
    for variable, count in (("kept", 1), ("lost", 1), ("soft", 1), ("broken", 2)):
        assert sum(f"var(--{variable})" in style for style in styles) == count
    assert "var(--broken)" not in again
    assert "var(--lost)" not in again


def test_plots_change_with_their_data():
    def occurrence(**counts):
        return retrieval_plots.k_occurrence(counts)

    def pairs(**change):
        return retrieval_plots.similarities({"raw": {**PAIRS, **change}})

    def tried(method, **change):
        return retrieval_plots.methods([*TRIED[:-1], {**TRIED[-1], **change}], method)

    drawn = [
        occurrence(raw=[5, 4, 0, 1]),
        occurrence(raw=[5, 4, 1]),
        occurrence(raw=[5, 4, 0, 1], corrected=[2, 8]),
        pairs(),
        pairs(matching=[5, 1, 0]),
        pairs(high=8.0),
        tried("nnn"),
        tried("csls"),
        tried("nnn", mrr=0.12),
        tried("nnn", gain=[-0.1, -0.12, -0.09]),
    ]
    assert len(set(drawn)) == len(drawn)


def test_a_hub_is_drawn_far_to_the_right():
    """An item in a thousand top tens is drawn near the right end of the logarithmic axis."""
    counts = [10] * 3 + [0] * 996 + [1]
    with Image.open(io.BytesIO(retrieval_plots.k_occurrence({"raw": counts}))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    amber = (abs(pixels - [242, 202, 148]).max(axis=2) < 12)[150:]  # below the legend
    columns = np.flatnonzero(amber.any(axis=0))
    wide = pixels.shape[1]
    assert columns.max() > 0.9 * wide
    heights = amber.sum(axis=0)
    assert heights[columns.min() + 5] > 3 * heights[int(0.8 * wide)]
