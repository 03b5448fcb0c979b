"""Conditions on indexed columns give the rows of a scan, also with nulls and appended rows."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.index import build
from pipelines.index.build import SCALAR_INDEXES
from store.config.index import Index
from tests.helpers.made_release import MadeRelease, make_release, unit

COMPARISONS = [
    "image_width >= 200",
    "image_width = 5",
    "image_width <> 5",
    "image_width IN (1, 2, 300)",
    "image_width BETWEEN 50 AND 90",
    "image_width IS NULL",
    "image_width + 1 > 250",
    "key LIKE 'key-1%'",
    "key = 'key-7'",
    "starts_with(key, 'key-2')",
    "text_language = 'en'",
    "text_language IS NULL",
    "text_language IN ('en', 'de')",
    "coalesce(text_language, 'en') = 'en'",
    "audio_seconds > 0.5",
    "audio_seconds <= -0.5",
]
conditions = st.recursive(
    st.sampled_from(COMPARISONS),
    lambda inner: st.one_of(
        inner.map("NOT ({})".format),
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
            "({0[0]}) {0[1]} ({0[2]})".format
        ),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[lance.LanceDataset]:
    """The same rows without and with indexes. The last rows were appended after the indexes."""
    rng, rows = np.random.default_rng(1), 2000

    def some(values: list) -> list:
        return [
            None if missing else v
            for v, missing in zip(values, rng.random(rows) < 0.2, strict=True)
        ]

    data = pa.table(
        {
            "n": np.arange(rows),
            "image_width": pa.array(some(rng.integers(0, 400, rows).tolist()), pa.int32()),
            "key": [f"key-{n}" for n in rng.integers(0, 400, rows)],
            "text_language": some(rng.choice(["en", "de", "fr"], rows).tolist()),
            "audio_seconds": some(rng.normal(size=rows).tolist()),
        }
    )
    root, made = tmp_path_factory.mktemp("scalars"), []
    for name in ("scanned", "indexed"):
        table = lance.write_dataset(data.slice(0, 1800), str(root / name))
        if name == "indexed":
            for column in data.column_names[1:]:
                table.create_scalar_index(column, SCALAR_INDEXES[column])
        made.append(lance.write_dataset(data.slice(1800), str(root / name), mode="append"))
    assert len(made[1].describe_indices()) == 4
    return made


@settings(max_examples=150)
@given(conditions)
def test_indexed_columns_give_the_rows_of_a_scan(
    tables: list[lance.LanceDataset], condition: str
) -> None:
    scanned, indexed = (
        sorted(table.to_table(columns=["n"], filter=condition)["n"].to_pylist()) for table in tables
    )
    assert indexed == scanned


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> list[MadeRelease]:
    """The same release without and with indexes."""
    root: Path = tmp_path_factory.mktemp("releases")
    index = Index(type="ivf_hnsw_sq", partitions=2, recall=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "QUERIES", 8)  # the probes do not matter
        return [make_release(root / "flat", 300), make_release(root / "indexed", 300, index)]


def test_searches_with_a_condition_give_the_same_rows(releases: list[MadeRelease]) -> None:
    indexes = releases[1].corpus.gallery_dataset("image").describe_indices()
    columns = {name for index in indexes for name in index.field_names}
    # The others have no values in this gallery.
    assert {"part_id", "id", "key", "image_width"} == columns & set(SCALAR_INDEXES)
    for number, query in enumerate(unit(np.random.default_rng(2), 4)):
        for condition in COMPARISONS[:10]:
            flat, indexed = (
                made.corpus.search(vectors={"text": query}).where(condition).limit(number + 5).run()
                for made in releases
            )
            assert indexed.rows.equals(flat.rows), condition
            assert indexed.complete
