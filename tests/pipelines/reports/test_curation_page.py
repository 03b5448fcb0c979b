"""The curation page: planted extremes in order, limits, outcomes, and hostile texts escaped."""

import io
import re
import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from orchestration.cli.main import main
from pipelines.decisions.stage import decide
from pipelines.reports.curation.bins import bins
from pipelines.reports.curation.charts import charts
from pipelines.reports.curation.column_statistics import MOST, Ends, Numbers, tally
from pipelines.reports.curation.columns import columns
from pipelines.reports.curation.data import read_page_data
from pipelines.reports.curation.exclusion import GROUPS, Count, groups, wilson
from pipelines.reports.curation.report import page_of, write_curation
from pipelines.reports.curation.thresholds import Limit, limits
from pipelines.reports.outcomes import funnel
from pipelines.stages.context import StageContext
from store.errors import InputError, NotFoundError
from store.tables import schema
from store.tables.stages import EVERY_DROP
from store.workspace import Workspace
from tests.helpers.corpus import picture
from tests.helpers.pages import Tags

HOSTILE = '<script>alert("1")</script><img src="https://example.com/x.png" onerror=alert(2)>'
POLICY = """\
policy:
  image_min_side: {min: 30}
  image_bytes: {max: 1000000}
  text_boilerplate: {not_in: [placeholder]}
"""
ONE, TWO = 60, 25
LIMIT_LABEL = r"<text [^>]*fill: var\(--broken\)[^>]*>"


def put(workspace: Workspace, name: str, table_schema: pa.Schema, rows: list[dict]) -> None:
    full = [{f.name: row.get(f.name) for f in table_schema} for row in rows]
    table = pa.Table.from_pylist(full, schema=table_schema)
    workspace.tables.replace(name, table_schema, table.to_batches(), None)


def tone() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        beats = np.sin(np.arange(8000) / 5) * np.linspace(0, 20_000, 8000)
        file.writeframes(beats.astype("<i2").tobytes())
    return out.getvalue()


def plant(root: Path, policy: str = POLICY) -> Workspace:
    """A corpus of two drops with known signals, and a third that could not be read."""
    (root / "corpus.yaml").write_text(f"sources:\n  all: {{path: drops}}\n{policy}")
    workspace = Workspace.open(root)
    image = picture((200, 30, 30), 7)
    samples, signals = [], []
    for number in range(ONE + TWO):
        sample = {"drop": "one" if number < ONE else HOSTILE, "id": f"{number:032x}"}
        key = f"shard/sample-{number}"
        part = {"image_id": f"i{number}", "text_id": f"t{number}", "image": image}
        part |= {"image_bytes": len(image), "image_format": "png"}
        samples.append({**sample, "source": "a.tar", "key": key, "text": f"words {number}", **part})
        row = {"image_min_side": 20 + number, "image_bytes": 10 + 2**number if number < 22 else 9}
        row |= {"text_language": "en" if number < ONE else "de", "text_boilerplate": "none"}
        signals.append({**sample, **row})
    samples[0]["image"] = image[: len(image) // 2]
    samples[3] |= {"text": HOSTILE, "key": HOSTILE}
    samples[4] |= {"image": None, "image_id": None, "audio": tone(), "audio_id": "a4"}
    samples[5] |= {"image_id": "i6"}  # the same picture twice
    signals[4] |= {"image_min_side": None, "audio_loudness": -20.0}
    signals[7] |= {"text_boilerplate": "placeholder"}
    signals[8] |= {"image_entropy": float("nan")}
    put(workspace, "samples", schema.SAMPLES, samples)
    put(workspace, "signals", schema.SIGNALS, signals)
    copy = {"drop": "one", "cluster": f"{40:032x}", "kind": "image"}
    duplicates = [
        {**copy, "id": f"{40:032x}", "representative": True, "similarity": 1.0},
        {**copy, "id": f"{41:032x}", "representative": False, "similarity": 0.875},
        {"drop": "one", "id": f"{42:032x}", "cluster": HOSTILE, "kind": "evaluation:coco",
         "representative": False, "similarity": 0.75},
    ]  # fmt: skip
    put(workspace, "duplicates", schema.DUPLICATES, duplicates)
    pairs = [
        {
            "drop": "one",
            "id": f"{n:032x}",
            "text_repair": n / 100,
            "repair_text": HOSTILE if n else None,
        }
        for n in range(12)
    ]
    put(workspace, "pairs__local", schema.PAIRS, pairs)
    stage = {"stage": "samples", "run_key": "", "output": "", "units": 1, "resumed": 0}
    stage |= {"seconds": 1.0, "published_at": 0}
    read = [("one", ONE + 2, ONE, 1, 1), (HOSTILE, TWO, TWO, 0, 0), ("empty", 3, 0, 0, 3)]
    names = ("drop", "input", "kept", "rejected", "failed")
    stages = [stage | dict(zip(names, r, strict=True)) for r in read]
    stages.append(stages[0] | {"stage": "duplicates", "drop": EVERY_DROP})
    put(workspace, "stages", schema.STAGES, stages)
    lost = {"drop": "one", "stage": "samples", "source": "s", "key": "gone", "outcome": "rejected"}
    broken = {"outcome": "failed", "rule": "image.broken", "error": HOSTILE}
    unmeasured = {"stage": "signals", "outcome": "unmeasured", "rule": "signals.audio_levels"}
    ledger = [
        {**lost, "rule": "duplicate.in_drop", "value": "first"},
        {**lost, **broken},
        *({**lost, **broken, "drop": "empty", "key": f"lost {i}"} for i in range(3)),
        {**lost, **unmeasured, "error": "it hums"},
    ]
    put(workspace, "ledger", schema.LEDGER, ledger)
    decide(StageContext(workspace))
    return workspace


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def pages(planted: Workspace) -> dict[str | None, str]:
    out = planted.root / "reports" / "curation.html"
    written = write_curation(planted, out)
    assert written == [out, *(page_of(out, d) for d in sorted((HOSTILE, "empty", "one")))]
    names = [None, *sorted((HOSTILE, "empty", "one"))]
    return {n: p.read_text(encoding="utf-8") for n, p in zip(names, written, strict=True)}


def part_of(page: str, signal: str) -> str:
    """The HTML of one signal."""
    sections = re.findall(r'<details class="signal".*?</details>', page, re.DOTALL)
    (found,) = [section for section in sections if f"<code>{signal}</code>" in section]
    return found


def ends(page: str, signal: str) -> dict[str, list[tuple[str, str]]]:
    """(value, key) of the samples shown at the ends of a signal, by title."""
    found = {}
    for piece in part_of(page, signal).split("<h4>")[1:]:
        title, _, rest = piece.partition("</h4>")
        cards = re.findall(r'<b>([^<]*)</b>.*?title="([^"]*?) \(', rest, re.DOTALL)
        found[title] = [(value, key.rpartition("/")[2]) for value, key in cards]
    return found


def test_the_ends_of_a_signal_are_its_planted_extremes_in_order(pages):
    found = ends(pages[None], "image_min_side")
    assert list(found) == ["Worst: lowest values", "Best: highest values"]
    # The fifth has no picture; the sixth's is the seventh's, which is not shown twice.
    low = [0, 1, 2, 3, 5, 7, 8, 9, 10, 11]
    worst = found["Worst: lowest values"]
    assert [value for value, _ in worst] == [str(20 + n) for n in low]
    assert [key for _, key in worst if key.startswith("sample")] == [
        f"sample-{n}" for n in low if n != 3
    ]
    best = [ONE + TWO - 1 - n for n in range(10)]
    assert found["Best: highest values"] == [(str(20 + n), f"sample-{n}") for n in best]


def test_the_end_that_a_rule_cuts_off_is_the_worst(pages):
    found = ends(pages["one"], "image_bytes")
    assert next(iter(found)) == "Worst: highest values"
    assert [key for _, key in found["Worst: highest values"]][:3] == [
        "sample-21", "sample-20", "sample-19",
    ]  # fmt: skip


def test_limits_are_drawn_and_values_beyond_them_are_counted(pages):
    drawn = part_of(pages[None], "image_min_side")
    assert re.search(LIMIT_LABEL + "min 30</text>", drawn)
    assert re.search(r'<path [^>]*style="fill: var\(--lost\)', drawn)  # the bars below it
    assert 'aria-label="histogram of image_min_side"' in drawn
    assert drawn.count("histogram-image_min_side") == 2  # drawn once, and shown again in small
    text = Tags(drawn).text
    assert "84 of 85 samples measured, 1.2% without a value" in text
    assert "Beyond min 30: 9 (10.7%)." in text
    assert "max 1e+06" in part_of(pages[None], "image_bytes")
    words = Tags(part_of(pages[None], "text_boilerplate")).text
    assert "placeholder 1 rejected" in words
    assert "words 7 one, shard/sample-7 image_min_side.min" in words


def test_the_funnel_goes_from_delivered_to_kept_samples(planted, pages):
    text = Tags(pages[None]).text
    assert "90 records were delivered" in text
    assert "85 could be read, without repeats: −5" in text
    kept = planted.tables.open("decisions").count_rows("keep")
    steps = funnel(read_page_data(planted, GROUPS).outcomes)
    assert [step.left for step in steps] == [90, 85, 74, 73, 72, 72]
    assert kept == 72
    assert "image_min_side.min rejected in decisions 9 shard/sample-0 one 20 30" in text
    assert "image.broken failed in samples 4 lost 0 empty" in text
    assert "signals.audio_levels unmeasured in signals 1" in text


def test_a_rule_of_any_name_belongs_to_a_step(tmp_path):
    workspace = plant(tmp_path)
    rows = workspace.tables.open("decisions").to_table().to_pylist()
    for row, rule in zip(
        rows[-4:], ("caps.source", "sample.share", "x.keep_top", "x"), strict=True
    ):
        row.update(keep=False, rule=rule, value="v", threshold="0.5")
    put(workspace, "decisions", schema.DECISIONS, rows)
    step = funnel(read_page_data(workspace, GROUPS).outcomes)[-2]
    assert (step.left, len(step.lost)) == (68, 4)


def test_duplicates_are_shown_with_their_representative(pages):
    text = Tags(pages[None]).text
    assert "image 1 1 0.875 to 0.875" in text
    assert "image, 1 removed first sample-40 kept 0.875 sample-41 duplicate.image" in text
    assert f"evaluation:coco, 1 removed for {HOSTILE[:60]}" in text
    assert "0.750 sample-42 decontamination.coco" in text


def test_the_surest_proposed_captions_are_shown(planted, pages):
    text = Tags(pages["one"]).text
    assert "12 captions probably do not belong to their image" in text
    assert "For 11 of them" in text
    assert "the policy uses 0" in text
    shown = read_page_data(planted, GROUPS).repairs["one"].shown
    assert [round(100 * repair.probability) for repair in shown] == [11, 10, 9, 8]
    assert "Repaired captions" not in Tags(pages["empty"]).text


def test_hostile_texts_are_escaped(pages):
    for page in pages.values():
        found = Tags(page)
        names = {tag for tag, _ in found.tags}
        assert not names & {"script", "iframe", "object", "link", "form", "base", "foreignObject"}
        assert not [a for _, attrs in found.tags for a in attrs if a.startswith("on")]
        urls = [a[n] for _, a in found.tags for n in ("src", "srcset", "xlink:href") if n in a]
        assert all(url.startswith("data:image/jpeg;base64,") for url in urls)
        policy = [a["content"] for t, a in found.tags if a.get("http-equiv")]
        assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    links = [a["href"] for t, a in Tags(pages[None]).tags if t == "a"]
    assert len(links) == 3
    assert all(re.fullmatch(r"curation-[A-Za-z0-9._-]+\.html", link) for link in links)
    assert '<script>alert("1")' in Tags(pages[None]).text


def test_the_card_of_a_broken_image_shows_the_error(pages):
    drawn = part_of(pages[None], "image_min_side")
    assert re.search(r'class="blank"[^>]*>image\.(truncated|broken)', drawn)
    assert drawn.count("<img") == 19


def test_recordings_are_drawn(planted, tmp_path):
    rows = planted.tables.open("signals").to_table().to_pylist()
    workspace = plant(tmp_path)
    for row in rows[4:6]:
        row["audio_loudness"] = -20.0 - int(row["id"][-1], 16)
    put(workspace, "signals", schema.SIGNALS, rows)
    write_curation(workspace, tmp_path / "page.html")
    drawn = part_of((tmp_path / "page.html").read_text(), "audio_loudness")
    heights = re.search(r'<svg class="wave".*?</svg>', drawn, re.DOTALL)
    assert heights
    assert heights[0].count("<rect") == 56


def test_signals_without_values_and_drops_without_samples_are_named(pages):
    text = Tags(pages[None]).text
    without = text.partition("Signals without values:")[2]
    assert "image_nsfw" in without
    assert "image_entropy" in without  # its only value is NaN
    empty = Tags(pages["empty"]).text
    assert "3 records were delivered 0 could be read" in empty
    assert "No signal has been measured yet." in empty
    assert "image.broken failed in samples 3" in empty


def test_a_corpus_without_policy_or_tables_has_a_page(tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    write_curation(plant(bare, "policy: {}\n"), bare / "p.html")
    page = (bare / "p.html").read_text()
    assert list(ends(page, "image_min_side")) == ["Lowest values", "Highest values"]
    assert 'id="histogram-image_min_side"' in page
    assert not re.search(LIMIT_LABEL, page)
    (tmp_path / "corpus.yaml").write_text("sources:\n  all: {path: drops}\n")
    write_curation(Workspace.open(tmp_path), tmp_path / "p.html")
    assert "Nothing has been read or decided yet." in (tmp_path / "p.html").read_text()


def test_signals_of_pairs_are_shown(tmp_path):
    workspace = plant(tmp_path)
    pairs = pa.schema([*list(schema.SIGNALS)[:2], pa.field("text_image_cosine", pa.float32())])
    rows = [
        {"drop": "one", "id": f"{n:032x}", "text_image_cosine": 0.01 * n if n else None}
        for n in range(ONE)
    ]
    put(workspace, "pairs__local", pairs, rows)
    write_curation(workspace, tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    keys = [key for _, key in ends(page, "text_image_cosine")["Lowest values"]]
    assert keys[:2] == ["sample-1", "sample-2"]
    # The samples of the second drop have no row of pairs: they lack a value, like the first one.
    assert "59 of 85 samples measured" in Tags(part_of(page, "text_image_cosine")).text


def test_the_command_writes_the_page_of_one_drop(planted):
    run = CliRunner().invoke(
        main, ["report", "curation", "--corpus", str(planted.root), "--drop", "one", "--by", "drop"]
    )
    assert run.exit_code == 0, run.output
    page = (planted.root / "reports" / "curation-one.html").read_text()
    assert "62 records were delivered" in Tags(page).text
    with pytest.raises(InputError, match="allowed are drop, source, "):
        write_curation(planted, planted.root / "no.html", by=["image_bytes"])
    with pytest.raises(NotFoundError, match="no drop 'three'"):
        write_curation(planted, planted.root / "no.html", drop="three")


def test_histograms_equal_numpys_over_several_drops(tmp_path):
    workspace = plant(tmp_path)
    rng = np.random.default_rng(0)
    values = rng.lognormal(3, 2, 3000).astype(np.float32)
    values[::7] = np.nan
    whole = rng.integers(-5, 300, 3000)
    rows = [
        {"drop": f"d{n % 3}", "id": f"{n:032x}", "image_sharpness": float(values[n]),
         "image_contrast": None if n % 5 == 0 else float(values[n] % 1),
         "text_words": int(whole[n])}
        for n in range(3000)
    ]  # fmt: skip
    put(workspace, "signals", schema.SIGNALS, rows)
    put(workspace, "pairs__local", schema.PAIRS, [])
    cut = {"image_sharpness": [Limit("min", "5"), Limit("max", "100")]}
    found, by_drop = tally(workspace, columns(workspace), cut)
    sharp = found["image_sharpness"]
    real = values[np.isfinite(values)].astype(float)
    assert np.array_equal(sharp.counts, np.histogram(real, sharp.edges)[0])
    assert sharp.edges[2] / sharp.edges[1] == pytest.approx(sharp.edges[-1] / sharp.edges[-2])
    assert (sharp.valid, sharp.unreal) == (len(real), 3000 - len(real))
    assert sharp.sum == pytest.approx(real.sum())
    assert list(sharp.beyond.values()) == [(real < 5).sum(), (real > 100).sum()]
    assert [v for _, v in sharp.highest.rows()] == np.sort(real)[::-1][:MOST].tolist()
    even = np.array([r["image_contrast"] for r in rows if r["image_contrast"] is not None])
    even = even[np.isfinite(even)]
    contrast = found["image_contrast"]
    assert np.array_equal(contrast.counts, np.histogram(even, contrast.edges)[0])
    words = found["text_words"]
    assert np.array_equal(words.counts, np.histogram(whole, words.edges)[0])
    assert set(np.diff(words.edges)) == {7.0}
    for name, one in by_drop.items():
        mine = whole[int(name[1:]) :: 3]
        assert np.array_equal(one["text_words"].counts, np.histogram(mine, words.edges)[0])


def test_bins_are_cut_at_the_limits_of_the_policy(tmp_path):
    limits = "policy: {image_min_side: {min: 32}, text_words: {min: 3, max: 40}}\n"
    workspace = plant(tmp_path, limits)
    values = [*np.random.default_rng(0).integers(1, 4000, 999).tolist(), 32]
    rows = [
        {"drop": "d", "id": f"{n:032x}", "image_min_side": side, "text_words": side // 50}
        for n, side in enumerate(values)
    ]
    put(workspace, "signals", schema.SIGNALS, rows)
    drawn = {h.name: h for h in charts(workspace, [])[0]}
    for name, least, most in (("image_min_side", 32, 4000), ("text_words", 3, 40)):
        edges = np.array(drawn[name].edges)
        measured = np.array([row[name] for row in rows])
        counts = np.array(drawn[name].counts)[(edges[:-1] >= least) & (edges[:-1] <= most)]
        assert counts.sum() == ((measured >= least) & (measured <= most)).sum()


numbers = st.floats(-(2.0**99), 2.0**99, width=32)


@given(st.lists(st.one_of(numbers, st.just(0.0), st.integers(0, 10**9)), min_size=1, max_size=60))
def test_every_value_is_in_a_bin(values):
    data = np.array(values, float)
    positive = data.min(where=data > 0, initial=np.inf)
    is_whole = bool((data == data.round()).all() and np.abs(data).max() < 2**40)
    edges = bins(data.min(), data.max(), positive, data.mean(), is_whole)
    assert (np.diff(edges) > 0).all()
    assert np.histogram(data, edges)[0].sum() == len(data)


@given(st.lists(st.lists(st.integers(0, 30), max_size=90), max_size=4), st.sampled_from([1, -1]))
def test_ends_equal_those_of_a_sort(batches, sign):
    found, plain = Ends(sign), []
    for batch in batches:
        ids = [f"{len(plain) + n}" for n in range(len(batch))]
        found.add(np.array(batch, float), "d", pa.array(ids, pa.string()))
        plain += [(("d", i), float(v)) for i, v in zip(ids, batch, strict=True)]
    assert found.rows() == sorted(plain, key=lambda row: sign * row[1])[:MOST]


def test_numbers_of_two_drops_join():
    one, two = Numbers(), Numbers()
    for tallied, drop, values in ((one, "a", [1.0, None, 3.0]), (two, "b", [0.5, 9.0])):
        ids = pa.array([f"{drop}{n}" for n in range(len(values))])
        tallied.add(pa.array(values, pa.float32()), drop, ids, [Limit("min", "1")])
    one.join(two)
    assert (one.rows, one.valid, one.low, one.high, one.positive) == (5, 4, 0.5, 9.0, 0.5)
    assert one.beyond[Limit("min", "1")] == 1
    assert [place for place, _ in one.lowest.rows()] == [
        ("b", "b0"), ("a", "a0"), ("a", "a2"), ("b", "b1"),
    ]  # fmt: skip


def test_limits_are_those_of_the_decisions(planted):
    decided = [("image_bytes.max", "7"), ("x.min", "1"), ("image_bytes.keep_top", "0.5")]
    decided += [("duplicate.image", "31"), *(("text_chars.keep_top", str(n)) for n in range(9))]
    found = limits(decided, planted, ["image_bytes", "image_min_side", "text_chars"])
    assert [str(limit) for limit in found["image_bytes"]] == ["keep_top 0.5", "max 7"]
    assert found["image_min_side"] == [Limit("min", "30")]
    assert [limit.at for limit in found["text_chars"]] == [0, 3, 5, 8]


def test_a_group_is_marked_only_if_it_is_surely_far_below():
    def of(name, kept, lost):
        taken = [("text_chars.max", lost - 1), ("image_bytes.min", 1)] if lost else []
        counts = [Count("d", "text_language", name, None, kept)]
        return counts + [Count("d", "text_language", name, rule, n) for rule, n in taken]

    rows = [*of("en", 9000, 1000), *of("de", 400, 600), *of("sw", 2, 3), *of(None, 88, 12)]
    found = {g.name: g for g in groups(rows, "text_language")}
    assert [name for name, g in found.items() if g.below] == ["de"]
    assert next(iter(found)) == "de"
    assert (found["de"].rule, found["de"].cost) == ("text_chars.max", 599)
    assert found["en"].ratio == pytest.approx(0.9 / (9490 / 11105))
    assert groups(rows[:3], "text_language") == []


def test_intervals_equal_published_ones():
    # Table 1 of Newcombe, Statistics in Medicine 17, 1998: 81 of 263, 15 of 148, 0 of 20.
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611)}
    for (kept, samples), (low, high) in published.items():
        assert wilson(kept, samples, 0.05) == pytest.approx((low, high), abs=5e-5)
