"""Checks that warn, on a real corpus: sound it passes; each planted fault is reported."""

import shutil

import dagster as dg
import pyarrow as pa
import pytest

from assets.checks import all_checks, named
from assets.health_checks import (
    HEALTH_CHECKS,
    few_failures,
    has_secret,
    no_secrets,
)
from assets.space_health import space_health_checks
from assets.spaces import MAIN, all_assets
from store.tables import schema
from store.workspace import Workspace


@pytest.fixture
def copy(squares: Workspace, tmp_path) -> Workspace:
    """A copy of the corpus `squares`, to plant faults in."""
    shutil.copytree(squares.root, tmp_path / "copy", symlinks=True)
    return Workspace.open(tmp_path / "copy")


def run(workspace: Workspace, *checks: dg.AssetChecksDefinition) -> dict[str, dg.AssetCheckResult]:
    """The results of checks, by name; that of a drop runs with the drop `first`."""
    results = {}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("drop", ["first"])
        for check in checks:
            of_drop = check is few_failures
            done = dg.materialize(
                [*all_assets([]), *all_checks([])],
                # Dagster gives a check alone no partition.
                selection=(
                    dg.AssetSelection.assets("samples")
                    if of_drop
                    else dg.AssetSelection.checks(check)
                ),
                partition_key="first" if of_drop else None,
                instance=instance,
                resources={"corpus": workspace},
            )
            results |= {each.check_name: each for each in done.get_asset_check_evaluations()}
    return results


def test_a_sound_corpus_passes(squares):
    results = run(squares, *HEALTH_CHECKS, *space_health_checks(MAIN, None))
    assert set(results) >= {key.name for check in HEALTH_CHECKS for key in check.check_keys}
    assert {name for name, each in results.items() if not each.passed} == set()


def test_an_item_that_answers_everything_is_reported(copy):
    name = "gallery__colours__image"
    rows = copy.tables.open(name).to_table()
    counts = rows["occurrence_text"].to_pylist()
    counts[7] = 400
    planted = rows.set_column(
        rows.schema.get_field_index("occurrence_text"),
        rows.schema.field("occurrence_text"),
        pa.array(counts, pa.int32()),
    )
    copy.tables.replace(name, rows.schema, planted.to_batches(), None)
    result = run(copy, *named(all_checks([]), ["no_planted_hubs"]))["no_planted_hubs"]
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert planted["id"][7].as_py() in result.metadata["suspects"].value


def test_a_credential_in_the_ledger_is_reported_without_its_text(copy, monkeypatch):
    monkeypatch.setenv("STORE_PASSWORD", "a-long-password-of-the-store")
    row = {field.name: None if field.nullable else "" for field in schema.LEDGER} | {
        "drop": "first",
        "stage": "samples",
        "outcome": "failed",
        "key": "k",
        "rule": "file.missing",
        "error": "cannot open with a-long-password-of-the-store",
    }
    batch = pa.RecordBatch.from_pylist([row], schema=schema.LEDGER)
    copy.tables.replace("ledger", schema.LEDGER, [batch], "false")
    result = run(copy, no_secrets)["no_secrets"]
    assert not result.passed
    assert "the ledger" in result.description
    assert "a-long-password" not in result.description


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot open s3://user:pass@bucket/x", True),
        ("https://b.example/x?X-Amz-Signature=0a1b", True),
        ("AKIAABCDEFGHIJKLMNOP", True),
        ("see https://example.com/page: a@b", False),
        ("the image is cut at byte 12", False),
    ],
)
def test_credentials_are_recognised_by_their_form(text, expected):
    assert has_secret(text, []) is expected
