"""Policies over tables: reading signals, comparing a changed policy, and what becomes stale."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.decisions.stage import decide
from pipelines.policy import duplicate_index
from pipelines.policy.judge import gather_evidence
from pipelines.policy.signal_columns import measured
from pipelines.policy.whatif import changed_policy, compare_policies
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store import identity
from store.config.policy import Policy
from store.errors import ConfigError, InputError, NotFoundError
from store.lineage import trace_record
from store.tables import schema
from store.tables.stages import EVERY_DROP
from store.tables.staging import Counts, begin, publish
from store.workspace import Workspace
from tests.helpers import corpus as helper_corpus

COUNT = 40
CONFIG = helper_corpus.CONFIG.replace(
    "image_min_side: {min: 16}",
    "image_min_side: {min: 20}\n  text_image_cosine: {min: 0.2, made_for: colours, null: reject}",
)


def rows() -> list[dict[str, Any]]:
    """Samples of two drops; every fifth is small."""
    result = []
    for number in range(COUNT):
        sample = identity.part_id("text", str(number).encode())
        row = {"drop": "ab"[number % 2], "id": sample, "source": f"{number % 4}.tar"}
        row |= {"key": f"{number}", "image_min_side": 10 if number % 5 == 0 else 30}
        row |= {"text_language": ["en", "de", None][number % 3], "image_aesthetic": number / 8}
        result.append(row | {"text_image_cosine": number / COUNT, "image_cluster": number % 6})
    return result


def publish_rows(
    workspace: Workspace, stage: str, columns: pa.Schema, table_rows: list[dict], drop: str
) -> None:
    table = pa.Table.from_pylist(table_rows, schema=columns)
    where = None if drop == EVERY_DROP else f"drop = '{drop}'"
    name = "pairs__colours" if stage == "pairs" else stage
    with begin(workspace.tables, stage, "made", columns, drop) as run:
        publish(
            workspace.tables,
            run,
            counts=Counts(len(table_rows), len(table_rows)),
            entries=[],
            write=lambda: workspace.tables.replace(name, columns, table.to_batches(), where),
            output=lambda: f"{stage} {drop}",
        )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("judged")
    helper_corpus.write_config(root, CONFIG)
    workspace = Workspace.open(root)
    samples = rows()
    for drop in "ba":
        in_drop = [r for r in samples if r["drop"] == drop]
        publish_rows(workspace, "samples", schema.SAMPLES, in_drop[::-1], drop)
        publish_rows(workspace, "signals", schema.SIGNALS, in_drop, drop)
    # Small images have no vectors, so their pairs have no signals.
    paired = [r for r in samples if r["image_min_side"] > 20]
    publish_rows(workspace, "pairs", schema.PAIRS, paired[::-1], EVERY_DROP)
    near = {"kind": "image", "similarity": 0.9, "cluster": samples[39]["id"]}
    lost = [{**r, **near, "representative": False} for r in samples[36:39]]
    lost.append({**samples[39], **near, "representative": True})
    publish_rows(workspace, "duplicates", schema.DUPLICATES, lost, EVERY_DROP)
    return workspace


def with_policy(workspace: Workspace, written: dict[str, Any]) -> Workspace:
    policy = Policy.model_validate(written)
    return replace(workspace, config=workspace.config.model_copy(update={"policy": policy}))


def test_columns_of_three_tables_are_joined_by_sample(corpus: Workspace) -> None:
    columns = ["text_language", "text_image_cosine", "source", "image_cluster", "image_min_side"]
    table = measured(corpus, columns)
    assert table.column_names == ["drop", "id", *columns]
    order = corpus.tables.open("signals").to_table(columns=["id"])["id"].to_pylist()
    assert table["id"].to_pylist() == order
    for row in table.to_pylist():
        (expected,) = [r for r in rows() if r["id"] == row["id"]]
        if expected["image_min_side"] == 10:
            expected |= {"text_image_cosine": None, "image_cluster": None}
        assert row == pytest.approx({c: expected[c] for c in table.column_names})


def test_an_empty_corpus_has_no_rows(tmp_path: Path) -> None:
    helper_corpus.write_config(tmp_path, CONFIG)
    workspace = Workspace.open(tmp_path)
    assert measured(workspace, ["text_language", "source", "text_image_rank"]).num_rows == 0
    with pytest.raises(
        NotFoundError, match=r"policy names text_image_cosine, but .* in the space 'colours' yet"
    ):
        compare_policies(workspace)
    assert compare_policies(with_policy(workspace, {"sample": {"share": 0.5}})).total == 0


def test_the_cached_index_is_used_only_for_its_tables(corpus: Workspace, tmp_path: Path) -> None:
    shutil.copytree(corpus.root, tmp_path / "copy")
    workspace = Workspace.open(tmp_path / "copy")
    changes = "image_min_side.min=0", "image_aesthetic.keep_top=0.4"
    expected = compare_policies(workspace, changes, by="text_language")
    assert duplicate_index.read_cache(workspace.tables) is None
    decide(StageContext(workspace))
    policies = [changed_policy(workspace.config, changes)]
    assert (
        "id" not in gather_evidence(workspace, policies).samples.column_names
    )  # ids are not needed
    assert compare_policies(workspace, changes, by="text_language") == expected
    (file,) = Path(workspace.tables.root).glob("_lost*")
    content = file.read_bytes()
    for broken in (content[: len(content) // 2], b"", b"ARROW1"):
        file.write_bytes(broken)
        assert compare_policies(workspace, changes, by="text_language") == expected
    file.write_bytes(content)
    publish_rows(workspace, "duplicates", schema.DUPLICATES, [], EVERY_DROP)
    assert duplicate_index.read_cache(workspace.tables) is None
    assert "duplicate.image" not in compare_policies(workspace, changes).rejected


def test_decisions_follow_the_three_phases(corpus: Workspace) -> None:
    quota = {"image_aesthetic": {"keep_top": 0.5, "by": "text_language"}}
    workspace = with_policy(corpus, corpus.config.policy.written() | quota)
    counts = decide(StageContext(workspace))
    decisions = workspace.tables.scan("decisions", schema.DECISIONS)
    assert (counts.input, counts.kept) == (COUNT, pc.sum(decisions["keep"].cast("int64")).as_py())
    by_rule = {r["values"]: r["counts"] for r in pc.value_counts(decisions["rule"]).to_pylist()}
    rules = {rule for rule in by_rule if rule}
    # Small images are rejected by their size, not because their pair has no cosine.
    assert rules == {
        "image_min_side.min",
        "text_image_cosine.min",
        "duplicate.image",
        "image_aesthetic.keep_top",
    }
    assert by_rule["image_min_side.min"] == 8
    assert by_rule["duplicate.image"] == 3
    (lost,) = [s for s in trace_record(workspace.tables, "9") if s.stage == "decisions"]
    assert lost.detail.startswith("image_aesthetic.keep_top: 1.125, the limit is ")


def test_changes_are_counted_by_rule_and_by_group(corpus: Workspace) -> None:
    comparison = compare_policies(
        corpus, ("image_aesthetic.keep_top=0.5", "image_min_side.min="), by="source"
    )
    assert comparison.total == COUNT
    assert comparison.rejected["image_min_side.min"] == (8, 0)
    assert comparison.rejected["text_image_cosine.null"] == (0, 8)  # they have no vectors
    assert comparison.rejected["image_aesthetic.keep_top"][0] == 0
    assert [sum(n) for n in zip(*comparison.groups.values(), strict=True)] == [
        COUNT,
        *comparison.kept,
    ]
    assert set(comparison.groups) == {f"{n}.tar" for n in range(4)}
    assert None in compare_policies(corpus, by="text_language").groups
    with pytest.raises(InputError, match="allowed: drop, source, image_format"):
        compare_policies(corpus, by="text_chars")
    capped = compare_policies(corpus, ("caps.drop=2", "sample.count=3", "sample.seed=7"))
    assert capped.kept[1] == 3
    assert set(capped.rejected) >= {"caps.drop", "sample.count"}


def test_settings_override_the_policy(corpus: Workspace) -> None:
    config = corpus.config
    assert changed_policy(config, ("caps.drop=5", "caps.drop=")).caps == ()
    assert not changed_policy(config, ("image_min_side.min=",)).rules.get("image_min_side")
    over = changed_policy(config, ("image_min_side.min=64",), preset="datacomp-basic")
    assert over.rules["image_min_side"].min == 64
    assert "text_image_cosine" not in over.rules
    for settings, preset, message in (
        (("text_image_cosine.made_for=other",), None, "was made for other"),
        ((), "laion5b", "was made for open_clip:ViT-B-32"),
        ((), "laion6b", "no preset 'laion6b'"),
        (("beauty.min=3",), None, "'beauty' is not a signal"),
        (("caps.text_chars=3",), None, "'text_chars' is not a group"),
        (("sample.share=2",), None, "less than or equal to 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            changed_policy(config, settings, preset)
    for setting in ("image_min_side.min", "nothing=3", "sample.share=["):
        with pytest.raises(InputError):
            changed_policy(config, (setting,))


def test_quotas_make_neither_vectors_nor_duplicates_stale(corpus: Workspace) -> None:
    def keys(policy: dict[str, Any]) -> tuple[str, str, str]:
        changed = with_policy(corpus, policy)
        return (
            run_keys.vectors(StageContext(changed, "a")),
            run_keys.duplicates(StageContext(changed)),
            run_keys.decisions(StageContext(changed)),
        )

    base = corpus.config.policy.written()
    vectors, duplicates, decisions = keys(base)
    for selection in (
        {"image_aesthetic": {"keep_top": 0.5}},
        {"caps": [{"by": "image_cluster", "most": 2}]},
        {"sample": {"count": 9}},
    ):
        assert keys(base | selection)[:2] == (vectors, duplicates)
        assert keys(base | selection)[2] != decisions
    looser = keys(base | {"text_image_cosine": {"min": 0.1, "made_for": "colours"}})
    assert looser[0] == vectors
    assert looser[1] != duplicates  # another sample may be the survivor
    assert keys(base | {"image_min_side": {"min": 8}})[0] != vectors
