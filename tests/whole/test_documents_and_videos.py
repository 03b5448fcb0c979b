"""A small corpus of a document and a video, from `isotrope init` to search and export."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import isotrope as client
from store.workspace import Workspace
from tests.helpers import pdfs, videos
from tests.helpers.pdfs import Picture, Words
from tests.orchestration.test_cli import isotrope

SUBTITLES = """1
00:00:00,000 --> 00:00:01,900
A bright red stage before the concert

2
00:00:02,000 --> 00:00:03,900
The deep blue ocean with whales
"""
PAGES = [
    [Words(72, 780, "A recipe for apple cake."), Words(72, 760, "Peel six apples.")],
    [
        Words(72, 780, "How volcanoes erupt. Magma rises from the mantle."),
        Picture(72, 500, 200, 200, (240, 90, 10)),
        Words(72, 480, "Figure 1: Glowing lava flows into the sea."),
    ],
]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pages_figures_and_frames_are_read_searched_and_exported(tmp_path: Path) -> None:
    source, corpus = tmp_path / "library", tmp_path / "corpus"
    source.mkdir()
    (source / "book.pdf").write_bytes(pdfs.document(PAGES))
    (source / "locked.pdf").write_bytes(pdfs.encrypted())
    colours = [(210, 30, 40)] * 2 + [(20, 60, 220)] * 2 + [(30, 200, 60)] * 2
    (source / "clip.mp4").write_bytes(videos.video(colours, size=(128, 96), tone=True))
    (source / "clip.srt").write_text(SUBTITLES)
    (source / "notes.mp4").write_text("not a video")

    isotrope("init", corpus, "--from", source)
    isotrope("estimate", "--corpus", corpus)
    isotrope("run", "--corpus", corpus)

    workspace = Workspace.open(corpus)
    samples = workspace.tables.open("samples").to_table().to_pylist()
    rows = {row["key"]: row for row in samples}
    assert rows.keys() == {
        *("book.pdf#page=1", "book.pdf#page=2", "book.pdf#page=2&figure=1"),
        *("clip.mp4#t=0.0", "clip.mp4#t=2.0", "clip.mp4#t=4.0"),
    }
    page, frame = rows["book.pdf#page=1"], rows["clip.mp4#t=2.0"]
    assert (page["source"], page["text"]) == (
        "book.pdf",
        "A recipe for apple cake.\nPeel six apples.",
    )
    assert (page["image_format"], page["image_width"], page["audio_id"]) == ("png", 1190, None)
    assert json.loads(page["meta"]) == {"document": "book.pdf", "page": 1}
    assert (frame["image_format"], frame["image_width"]) == ("jpeg", 128)
    assert (frame["audio_format"], round(frame["audio_seconds"])) == ("flac", 2)
    assert json.loads(frame["meta"]) == {"video": "clip.mp4", "time": 2.0, "seconds": 2.0}
    assert rows["clip.mp4#t=4.0"]["text"] is None
    failed = workspace.tables.open("ledger").to_table().to_pylist()
    assert {row["key"]: row["rule"] for row in failed} == {
        "locked.pdf": "pdf.encrypted",
        "notes.mp4": "video.broken",
    }

    search = client.connect(corpus).search
    pages = search(text="cake with peeled apples").among("text").limit(1).to_list()
    assert [hit["key"] for hit in pages] == ["book.pdf#page=1"]
    figures = search(text="lava and fire").among("text").limit(1).to_list()
    assert [hit["key"] for hit in figures] == ["book.pdf#page=2&figure=1"]
    (hit,) = search(text="whales").among("text").where("key = 'clip.mp4#t=2.0'").to_list()
    assert hit["caption"] == "The deep blue ocean with whales"
    assert "clip.mp4#t=2.0" in isotrope("why", "clip.mp4#t=2.0", "--corpus", corpus, "--json")

    isotrope("export", "--to", "parquet", tmp_path / "kept", "--corpus", corpus)
    exported = pq.read_table(tmp_path / "kept" / "samples.parquet")["key"].to_pylist()
    assert sorted(exported) == sorted(rows)
    isotrope("export", "--to", "webdataset", tmp_path / "shards", "--corpus", corpus)
    isotrope("init", tmp_path / "again", "--from", tmp_path / "shards")
