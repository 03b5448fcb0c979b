"""PDF documents: pages, figures with captions, and documents that want to do harm."""

import io
import json
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from pipelines.sources import drops
from pipelines.sources.documents.drawings import drawings
from pipelines.sources.documents.figures import CAPTION, Box, figures, with_labels
from pipelines.sources.drops import find_drops
from pipelines.sources.units import list_units
from store.config.sources import Documents
from store.errors import MissingPackageError, SourceError
from tests.helpers import pdfs
from tests.helpers.pdfs import Picture, Words
from tests.helpers.rubbish import bad_rules, good_keys, picture, read_items

RED, BLUE = (210, 30, 40), (20, 60, 220)
QUICK = Documents(dpi=36, pages=50, page_seconds=8, seconds=20)


def read(folder: Path, options: Documents = QUICK) -> list:
    (drop,) = find_drops("papers", str(folder), "source", documents=options).values()
    return [item for unit in list_units(drop) for item in read_items(unit)]


def write(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        (folder / f"{name}.pdf").write_bytes(data)


PAPER = [
    [Words(72, 780, "On the colours of squares"), Words(72, 760, "We draw two of them.")],
    [
        Words(72, 800, "Figure 1 shows a square in red."),
        Picture(72, 600, 150, 150, RED),
        Words(72, 585, "Figure 1: A red square, which is"),
        Words(72, 572, "drawn for this test."),
        Words(72, 500, "More text that is in no caption."),
        Words(320, 460, "Fig. 2. A blue square."),
        Picture(320, 300, 150, 150, BLUE),
        Picture(72, 100, 150, 150, (9, 99, 9)),  # has no caption
    ],
]


def test_pages_and_figures_are_records(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", paper=pdfs.document(PAPER))
    items = read(tmp_path, Documents(dpi=72))
    assert good_keys(items) == [
        "a/paper.pdf#page=1",
        "a/paper.pdf#page=2",
        "a/paper.pdf#page=2&figure=1",
        "a/paper.pdf#page=2&figure=2",
    ]
    assert {item.source for item in items} == {"a/paper.pdf"}
    first, second, red, blue = items
    assert first.text.decode() == "On the colours of squares\nWe draw two of them."
    assert Image.open(io.BytesIO(second.image)).size == (595, 842)
    assert red.text == b"Figure 1: A red square, which is drawn for this test."
    assert blue.text == b"Fig. 2. A blue square."
    for item, colour in ((red, RED), (blue, BLUE)):
        pixels = np.asarray(Image.open(io.BytesIO(item.image)))
        assert pixels.shape[:2] == (150, 150)
        assert (np.median(pixels.reshape(-1, 3), axis=0) == colour).all()
    assert json.loads(first.meta) == {"document": "a/paper.pdf", "page": 1}
    assert json.loads(red.meta) == {
        "document": "a/paper.pdf",
        "page": 2,
        "figure": 1,
        "label": "Figure 1",
    }


def test_a_turned_page_has_its_figures_too(tmp_path):
    for turn in (0, 90, 180, 270):
        write(tmp_path, **{f"t{turn}": pdfs.document(PAPER, fields=b"/Rotate %d" % turn)})
    for item in read(tmp_path, Documents(dpi=72)):
        if item.key.endswith("figure=1"):
            pixels = np.asarray(Image.open(io.BytesIO(item.image)))
            assert (np.median(pixels.reshape(-1, 3), axis=0) == RED).all(), item.key


def test_a_page_without_text_has_a_picture_and_no_caption(tmp_path):
    write(tmp_path, scan=pdfs.document([[Picture(0, 0, 595, 842, BLUE)]]))
    (item,) = read(tmp_path)
    assert item.text == b""
    assert item.image is not None


@pytest.mark.parametrize("option", [{"figures": False}, {"pages": 1}])
def test_options_bound_what_is_read(tmp_path, option):
    write(tmp_path, paper=pdfs.document(PAPER))
    items = read(tmp_path, Documents(**option))
    pages = ["paper.pdf#page=1", "paper.pdf#page=2"]
    assert good_keys(items) == (pages if "figures" in option else pages[:1])
    assert bad_rules(items) == ([("paper.pdf#page=2", "pdf.pages")] if "pages" in option else [])


def test_pictures_are_bounded_whatever_the_page_is(tmp_path):
    for name, size in {"huge": (1e6, 1e6), "long": (1e6, 1), "dot": (1e-3, 1e-3)}.items():
        write(tmp_path, **{name: pdfs.document([[Words(1, 1, "x")]], size)})
    options = Documents(dpi=600, longest_side=512)
    sizes = {i.key: Image.open(io.BytesIO(i.image)).size for i in read(tmp_path, options)}
    assert all(max(size) <= 512 for size in sizes.values()), sizes
    assert len(sizes) == 3


HOSTILE = {
    "bomb": (pdfs.bomb(4), "#page=1", "pdf.crashed pdf.memory pdf.seconds"),
    "claims": (pdfs.claimed_pages(1_000_000), "#page=51-1000000", "pdf.pages"),
    "encrypted": (pdfs.encrypted(), "", "pdf.encrypted"),
    "forms": (pdfs.forms_of_forms(12, 40), "#page=1", "pdf.crashed pdf.seconds"),
    "looped": (pdfs.looped_tree(), "#page=2-3", "pdf.page"),
    "million": (pdfs.shared_pages(2), "#page=51-1000000", "pdf.pages"),
    "nothing": (b"", "", "pdf.empty"),
    "picture": (picture(), "", "pdf.broken"),
    "self": (pdfs.self_drawing(), "#page=1", "pdf.crashed pdf.seconds"),
    "text": (b"%PDF-1.7\n" + b"no object at all\n" * 100, "", "pdf.broken"),
}
SOUND = pdfs.document(PAPER)
SLOW = {"bomb", "forms", "self"}  # each takes all of its time


def check_hostile(folder: Path, names: set[str], options: Documents) -> None:
    write(folder, **{name: HOSTILE[name][0] for name in names}, zz_sound=SOUND)
    items = read(folder, options)
    rules = dict(bad_rules(items))
    for name in names:
        _, place, expected = HOSTILE[name]
        assert rules.pop(f"{name}.pdf{place}") in expected.split(), name
    assert rules.keys() <= {"claims.pdf#page=2-50"}
    good = good_keys(items)
    assert sum(key.startswith("zz_sound") for key in good) == 4
    assert ("claims.pdf#page=1" in good) == ("claims" in names)


def test_hostile_documents_end_in_the_ledger_and_cost_no_other(tmp_path):
    check_hostile(tmp_path, HOSTILE.keys() - SLOW, QUICK)


@pytest.mark.slow
def test_documents_that_take_all_time_and_memory_are_bounded(tmp_path):
    largest = 0

    def watch() -> None:
        nonlocal largest
        while not stop.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    largest = max(largest, child.memory_info().rss)

    stop, started = threading.Event(), time.monotonic()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        options = Documents(dpi=36, pages=50, page_seconds=5, seconds=12)
        check_hostile(tmp_path, SLOW, options)
    finally:
        stop.set()
        watcher.join()
    assert largest < 2 << 30
    assert time.monotonic() - started < 100


def test_odd_documents_cost_at_most_themselves(tmp_path):
    write(tmp_path, nested=pdfs.nested(200_000), pixels=pdfs.image_bomb(60_000))
    write(tmp_path, truncated=SOUND[: len(SOUND) // 2], sound=SOUND)
    keys = good_keys(read(tmp_path))
    assert sum(key.startswith("sound") for key in keys) == 4


@settings(max_examples=6, deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=40))
def test_a_document_with_any_damage_is_counted_and_read_alike(tmp_path_factory, start, damage):
    folder = tmp_path_factory.mktemp("damaged")
    write(folder, damaged=SOUND[:start] + damage + SOUND[start + len(damage) :])
    items = read(folder)  # `read_items` compares with the count
    assert items
    assert not [rule for _, rule in bad_rules(items) if rule.endswith("unexpected")]


def test_a_document_that_is_too_large_is_not_opened(tmp_path):
    write(tmp_path, paper=SOUND)
    (item,) = read(tmp_path, Documents(bytes=100))
    assert (item.error.rule, item.error.value) == ("pdf.bytes", len(SOUND))


def test_a_link_out_of_the_drop_is_not_followed(tmp_path):
    drop = tmp_path / "drop"
    drop.mkdir()
    write(tmp_path, secret=SOUND)
    (drop / "link.pdf").symlink_to(tmp_path / "secret.pdf")
    assert bad_rules(read(drop)) == [("link.pdf", "file.outside")]


def test_documents_are_not_read_unless_the_source_says_so(tmp_path):
    write(tmp_path, paper=SOUND)
    with pytest.raises(SourceError, match="no data"):
        find_drops("papers", str(tmp_path), "source")


def test_a_missing_package_is_named_before_anything_is_read(tmp_path, monkeypatch):
    write(tmp_path, paper=SOUND)
    monkeypatch.setattr(drops, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'isotrope\[documents\]'"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("Figure 3: A cat.", "Figure 3"),
        ("Fig. 2. A dog", "Fig. 2"),
        ("FIG. S1 | Three birds", "FIG. S1"),
        ("Figure 3.2 The house", "Figure 3.2"),
        ("Supplementary Figure 4: X", "Supplementary Figure 4"),
        ("Abb. 7: Ein Haus", "Abb. 7"),
        ("Figure 12", "Figure 12"),
        ("Figure 3 shows a cat", None),
        ("Figures are drawn", None),
        ("see Figure 3: a cat", None),
        ("configure 3: a server", None),
    ],
)
def test_captions_begin_with_a_label(line, label):
    match = CAPTION.match(line)
    assert (match and match["label"]) == label


SIDES = st.floats(0, 600, allow_nan=False)
BOXES = st.lists(
    st.tuples(SIDES, SIDES, st.floats(1, 300), st.floats(1, 300)).map(
        lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[3])
    ),
    max_size=8,
)


@given(BOXES, BOXES)
def test_a_figure_is_made_of_pictures_and_covers_no_caption(captions, pictures):
    found = figures(captions, pictures)
    assert len(found) == len(captions)
    for box in filter(None, found):
        assert not any(box.overlaps(caption) for caption in captions)
        for side in range(4):
            assert box[side] in [picture[side] for picture in pictures]


@given(BOXES, BOXES, st.integers(-500, 500), st.integers(-500, 500))
def test_figures_move_with_the_page(captions, pictures, x, y):
    def moved(box: Box) -> Box:
        return Box(*(round(v) + by for v, by in zip(box, (x, y, x, y), strict=True)))

    whole = [[Box(*map(round, box)) for box in boxes] for boxes in (captions, pictures)]
    there = figures(*([moved(box) for box in boxes] for boxes in whole))
    assert there == [box and moved(box) for box in figures(*whole)]


def test_the_parts_of_a_figure_are_one_picture():
    caption = Box(200, 310, 400, 322)
    left, right, far = Box(50, 100, 290, 300), Box(310, 100, 550, 300), Box(50, 600, 290, 700)
    assert figures([caption], [left, right, far]) == [Box(50, 100, 550, 300)]


def plot(x: float, y: float, bars: int = 8) -> bytes:
    """Page content: axes and bars from (x, y) on, 160 points wide and 120 high."""
    lines = b"0 0 1 RG %g %g m %g %g l S %g %g m %g %g l S\n" % (x, y, x, y + 120, x, y, x + 160, y)
    heights = [20 + 12 * (bar % 9) for bar in range(bars)]
    return lines + b"".join(
        b"0.2 0.6 0.2 rg %g %g 12 %g re f\n" % (x + 4 + 20 * bar, y, height)
        for bar, height in enumerate(heights)
    )


def test_drawings_of_lines_are_figures_too(tmp_path):
    def words(x: float, y: float, text: bytes) -> bytes:
        return b"BT /F 10 Tf %g %g Td (%s) Tj ET\n" % (x, y, text)

    content = (
        plot(100, 500)
        + words(95, 490, b"0   1   2   3")
        + words(100, 465, b"Figure 7: Bars that grow.")
        + plot(100, 200, bars=1)  # three paths are no drawing
        + words(100, 180, b"Figure 8: A frame.")
    )
    font = b"/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
    write(tmp_path, plots=pdfs.one_page(pdfs.stream(b"", content), resources=font))
    page, figure = read(tmp_path, Documents(dpi=72))
    assert page.key == "plots.pdf#page=1"
    assert figure.text == b"Figure 7: Bars that grow."
    pixels = np.asarray(Image.open(io.BytesIO(figure.image)))
    assert pixels.shape[:2] == (
        pytest.approx(130, abs=4),
        pytest.approx(165, abs=8),
    )  # with numbers
    assert (pixels == (51, 153, 51)).all(axis=2).sum() > 3000


def test_the_plots_of_a_figure_come_with_their_axes(tmp_path):
    figure = Figure(figsize=(8.27, 11.69))
    figure.text(0.1, 0.95, "Some text. Figure 1 shows a sine.")
    sine, cloud, image = (
        figure.add_axes(place)
        for place in ([0.12, 0.65, 0.35, 0.22], [0.58, 0.65, 0.35, 0.22], [0.2, 0.25, 0.6, 0.2])
    )
    times = np.linspace(0, 6, 200)
    sine.plot(times, np.sin(times))
    sine.set_ylabel("volts")
    cloud.scatter(*np.random.default_rng(0).random((2, 100)))
    image.imshow(np.random.default_rng(1).random((20, 40)), aspect="auto")
    figure.text(0.1, 0.59, "Figure 1: A sine and a cloud,\nboth of lines.", fontsize=9)
    figure.text(0.2, 0.2, "Fig. 2. A random image.", fontsize=9)
    figure.savefig(tmp_path / "plots.pdf")
    _, first, second = read(tmp_path, Documents(dpi=72))
    assert first.text == b"Figure 1: A sine and a cloud, both of lines."
    assert second.text == b"Fig. 2. A random image."
    # On a page of 595 x 842 points the axes alone have 0.81 x 0.22 and 0.6 x 0.2 of it.
    for item, (width, height) in ((first, (482, 185)), (second, (357, 168))):
        shown = Image.open(io.BytesIO(item.image)).size
        assert width + 20 < shown[0] < width + 80
        assert height + 10 < shown[1] < height + 60


@given(BOXES)
def test_drawings_cover_their_paths(boxes):
    paths = boxes * 6  # a path alone is no drawing
    found = drawings(paths, 900, 900)
    for path in boxes:
        if path.shorter_side >= 48:
            assert any(box.union(path) == box for box in found)


@given(BOXES, BOXES)
def test_labels_make_a_figure_larger_until_it_would_cover_a_caption(labels, captions):
    figure = Box(300, 300, 400, 400)
    larger = with_labels(figure, labels, captions)
    assert larger.union(figure) == larger
    if not any(figure.overlaps(caption) for caption in captions):
        assert not any(larger.overlaps(caption) for caption in captions)
    if not captions:
        assert all(larger.union(b) == larger for b in labels if b.overlaps(figure))


def test_the_time_for_drawings_does_not_depend_on_the_page():
    started = time.monotonic()
    everywhere = [Box(0, 0, 1e6, 1e6)] * 20_000
    assert len(drawings(everywhere, 1e6, 1e6)) == 1
    assert time.monotonic() - started < 10
