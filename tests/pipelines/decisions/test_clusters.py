"""Clusters of kept samples are the connected components of samples that share a part."""

from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.decisions.kept_samples import kept_samples
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.hash_ranges import small_ranges

PARTS = st.lists(
    st.tuples(*(st.one_of(st.none(), st.integers(0, 12)) for _ in schema.MODALITIES)), max_size=20
)


def corpus(root: Path, samples: list[tuple[int | None, ...]]) -> Workspace:
    """A corpus of samples with these parts by number, all of them kept."""
    root.mkdir(exist_ok=True)
    (root / "corpus.yaml").write_text("sources: {s: {path: drops}}\n")
    workspace = Workspace.open(root)
    rows = [
        {
            "drop": f"d{number % 2}",
            "id": f"{(number * 7) % 23:02d}",  # not in the order of arrival
            "source": "s",
            "key": f"{number:02d}",
            "keep": True,
            "policy": "",
            **{
                f"{m}_id": None if part is None else f"{m}{part}"
                for m, part in zip(schema.MODALITIES, parts, strict=True)
            },
        }
        for number, parts in enumerate(samples)
    ]
    for name, columns in (("samples", schema.SAMPLES), ("decisions", schema.DECISIONS)):
        batch = pa.RecordBatch.from_pylist(rows, schema=columns)
        workspace.tables.replace(name, columns, [batch], None)
    return workspace


def components(rows: list[dict]) -> dict[str, str]:
    """The smallest id of each sample's component, by plain merging of sets."""
    groups: list[tuple[set[str], set[str]]] = []  # ids and parts
    for row in rows:
        ids, parts = {row["id"]}, {p for m in schema.MODALITIES if (p := row[f"{m}_id"])}
        rest = []
        for other_ids, other_parts in groups:
            if parts & other_parts:
                ids, parts = ids | other_ids, parts | other_parts
            else:
                rest.append((other_ids, other_parts))
        groups = [*rest, (ids, parts)]
    return {i: min(ids) for ids, _ in groups for i in ids}


@settings(max_examples=20)
@given(PARTS, st.booleans())
def test_clusters_are_connected_components(tmp_path_factory, samples, several_ranges) -> None:
    workspace = corpus(tmp_path_factory.mktemp("clusters"), samples)
    with (
        small_ranges(several_ranges),
        kept_samples(workspace, workspace.root / "scratch") as kept,
    ):
        rows = kept.scratch.select("FROM kept ORDER BY number", "kept").to_pylist()
        assert kept.count == len(samples)
    assert {row["id"]: row["cluster"] for row in rows} == components(rows)
    assert [(r["drop"], r["key"]) for r in rows] == sorted((r["drop"], r["key"]) for r in rows)


def test_a_long_chain_is_one_cluster(tmp_path: Path) -> None:
    chain = [(n // 2, (n + 1) // 2, None) for n in range(20)]
    workspace = corpus(tmp_path, chain)
    with kept_samples(workspace, workspace.root / "scratch") as kept:
        assert kept.scratch.select("SELECT DISTINCT cluster FROM kept", "kept").num_rows == 1
        assert kept.having("id", ["00", "nothing"])["id"].to_pylist() == ["00"]
