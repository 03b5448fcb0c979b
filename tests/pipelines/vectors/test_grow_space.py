"""`isotrope align --grow`: projections learn further from the pairs of new drops."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from embedders.alignment.grow import Comparison
from embedders.corpus_space import corpus_space
from orchestration.cli.main import main
from pipelines.vectors import grow as growing
from pipelines.vectors.grow import grow_space
from pipelines.vectors.pair_sums_file import load_sums
from store.errors import InputError
from store.workspace import Workspace
from tests.helpers.corpus import deliver, write_config
from tests.pipelines.vectors.test_align import config


def run(root: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["align", *arguments, "--corpus", str(root)])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def rows(workspace: Workspace) -> list[dict]:
    table = workspace.tables.open("projections").to_table().sort_by("created_at")
    return [{**row, "figures": json.loads(row["figures"])} for row in table.to_pylist()]


@pytest.mark.slow
def test_a_projection_grows_with_a_new_drop(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, config(tmp_path / "log"))
    deliver(tmp_path / "drops" / "first", 240)
    run(tmp_path, "--method", "ridge")
    workspace = Workspace.open(tmp_path)
    assert "no pairs of other drops than 1 known ones" in run(tmp_path, "--grow")
    deliver(tmp_path / "drops" / "second", 200, first=1000)

    losing = Comparison(20, (0.9, 0.9), (0.1, 0.1), -0.9, -0.7)
    real = growing.grow
    with monkeypatch.context() as patch:
        patch.setattr(growing, "grow", lambda *a, **k: _with_old(real(*a, **k), losing))
        result = CliRunner().invoke(main, ["align", "--grow", "--corpus", str(tmp_path)])
    assert result.exit_code == 1
    assert "surely loses on the known drops" in " ".join(result.output.split())
    assert len(rows(workspace)) == 1

    output = run(tmp_path, "--grow")
    assert "known drops" in output
    assert "learned from 1 new drops" in output
    first, grown = rows(workspace)
    assert first["figures"]["drops"] == ["first"]
    assert grown["figures"]["drops"] == ["first", "second"]
    assert grown["figures"]["settings"] == first["figures"]["settings"]
    before, after = (load_sums(workspace.tables.files, r["file"]).all for r in (first, grown))
    assert (before.plain.weight, after.plain.weight) == (240, 440)
    assert np.abs(after.plain.mean - before.plain.mean).max() > 0
    assert grow_space(workspace) == []  # nothing is new

    deliver(tmp_path / "drops" / "third", 60, first=2000)
    with monkeypatch.context() as patch:
        patch.setattr(growing, "grow", lambda *a, **k: _with_old(real(*a, **k), losing))
        refused = CliRunner().invoke(main, ["align", "--grow", "--corpus", str(tmp_path)])
        assert refused.exit_code == 1
        assert len(rows(workspace)) == 2
        output = run(tmp_path, "--grow", "--force")
    assert "learned from 1 new drops" in output
    assert "not adopted" not in output
    *_, grown, forced = rows(workspace)
    assert forced["figures"]["drops"] == ["first", "second", "third"]
    assert load_sums(workspace.tables.files, forced["file"]).all.plain.weight == 500
    current = corpus_space(workspace).towers["image"]
    assert forced["file"] in current
    assert grown["file"] not in current


def test_force_without_grow_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, config(tmp_path / "log"))
    result = CliRunner().invoke(main, ["align", "--force", "--corpus", str(tmp_path)])
    assert result.exit_code == 1
    assert "--force is for --grow" in result.output


def _with_old(grown, old: Comparison):
    from dataclasses import replace

    return replace(grown, old=old)


def test_a_tower_without_a_projection_cannot_grow(tmp_path: Path, ray_cluster: None) -> None:
    write_config(tmp_path, config(tmp_path / "log"))
    deliver(tmp_path / "drops" / "first", 60)
    result = CliRunner().invoke(main, ["align", "--grow", "--corpus", str(tmp_path)])
    assert isinstance(result.exception, InputError) or "no projection yet" in result.output
