"""`vectors: float16` in corpus.yaml: half of the bytes, and the same results of searches."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from assets.corpus_check import check_corpus
from pipelines.stages import staleness
from store.arrow import as_matrix
from store.search.corpus import Corpus
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, DIM, deliver, write_config
from tests.helpers.stages import make_stale_stages

pytestmark = pytest.mark.usefixtures("ray_cluster")


def stored(corpus: Workspace) -> tuple[pa.DataType, dict[str, np.ndarray]]:
    """The type of the stored numbers, and the vectors by part."""
    rows = corpus.tables.open("vectors__colours").to_table()
    matrix = as_matrix(rows["vector"])
    assert matrix.dtype == np.float32
    parts = dict(zip(rows["part_id"].to_pylist(), matrix, strict=True))
    assert len(parts) == rows.num_rows
    return rows.schema.field("vector").type.value_type, parts


def hits(corpus: Workspace) -> list[list[str]]:
    vectors = np.eye(DIM, dtype=np.float32)[:3]
    searches = [Corpus(corpus.tables).search(vectors={"text": v}).among("image") for v in vectors]
    return [[hit["key"] for hit in search.limit(10).to_list()] for search in searches]


def test_half_vectors_give_the_same_results(tmp_path: Path) -> None:
    deliver(tmp_path / "drops" / "first", 40)
    deliver(tmp_path / "drops" / "second", 10, first=40)
    made = []
    for setting, number in (("", pa.float32()), ("vectors: float16\n", pa.float16())):
        write_config(tmp_path, CONFIG + setting)
        corpus = Workspace.open(tmp_path)
        assert all(made_anew(corpus))
        make_stale_stages(corpus)
        assert not any(made_anew(corpus))
        assert [f for f in check_corpus(corpus) if not f.passed] == []
        kind, parts = stored(corpus)
        assert kind == number
        gallery = corpus.tables.open("gallery__colours__image").schema.field("vector").type
        assert gallery.value_type == pa.float32()
        made.append((parts, hits(corpus)))
    (full, expected), (half, found) = made
    assert found == expected
    assert half.keys() == full.keys()
    for part, vector in full.items():
        assert np.array_equal(half[part], vector.astype(np.float16).astype(np.float32))
    write_config(tmp_path, CONFIG)
    assert all(made_anew(Workspace.open(tmp_path)))


def made_anew(corpus: Workspace) -> list[bool]:
    """Whether the vectors of each drop are out of date."""
    drops = staleness.drops(corpus).values()
    return ["vectors" in staleness.stale(corpus, drop) for drop in drops]
