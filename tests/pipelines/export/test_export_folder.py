"""The folder of an export: refusals, missing samples, the command and the job, and a kill."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import lance
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from orchestration.cli.main import main
from orchestration.definitions import VARIABLE, definitions
from pipelines.decisions.stage import decide
from pipelines.export.stage import Options, export
from pipelines.export.target_folder import STATE
from pipelines.stages.context import StageContext
from store.config.policy import Policy
from store.errors import ConservationError, InputError
from store.workspace import Workspace
from tests.helpers.exports import file_contents, kept_samples


def test_an_export_of_other_decisions_is_refused(corpus: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(corpus, out, Options("webdataset", shard_samples=10))
    config = corpus.config.model_copy(
        update={"policy": Policy.model_validate({"image_width": {"min": 10}})}
    )
    stricter = replace(corpus, config=config)
    try:
        decide(StageContext(stricter))
        with pytest.raises(InputError, match=r"other decisions.*--overwrite"):
            export(stricter, out, Options("webdataset", shard_samples=10))
        assert len(list(out.glob("*.tar"))) == 6
        result = export(stricter, out, Options("lance"), overwrite=True)
        assert sorted(p.name for p in out.iterdir()) == ["isotrope.json", "samples.lance"]
        assert result.samples == lance.dataset(out / "samples.lance").count_rows()
    finally:
        decide(StageContext(corpus))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "diary.txt").write_text("not to be lost")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"diary\.txt"):
            export(corpus, foreign, Options("parquet"), overwrite)
    with pytest.raises(InputError, match="in the source 'deliveries'"):
        export(corpus, corpus.root / "drops" / "out", Options("parquet"))
    with pytest.raises(InputError, match="unknown format 'zip'"):
        Options("zip")


def test_a_shard_with_a_missing_sample_fails_the_export(
    corpus: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.export.stage import parquet

    monkeypatch.setattr(parquet, "count", lambda path: pq.read_metadata(path).num_rows - 1)
    with pytest.raises((ConservationError, RuntimeError), match="samples were written"):
        export(corpus, tmp_path, Options("parquet"))
    assert not (tmp_path / "isotrope.json").exists()
    monkeypatch.undo()
    export(corpus, tmp_path, Options("parquet"))
    (tmp_path / "samples.parquet" / "000000.parquet").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"missing or changed: isotrope\.json says"):
        export(corpus, tmp_path, Options("parquet"))


def test_the_command_and_the_dagster_job_write_the_same_files(
    corpus: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["export", str(tmp_path / "one"), "--to", "webdataset", "--corpus", str(corpus.root)]
    completed = CliRunner().invoke(main, command)
    assert completed.exit_code == 0, completed.output
    assert f"{kept_samples(corpus).num_rows} samples in 1 shards" in completed.output
    monkeypatch.setenv(VARIABLE, str(corpus.root))
    config = {"ops": {"write": {"config": {"folder": str(tmp_path / "two")}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def("export")
        assert job.execute_in_process(run_config=config, instance=instance).success
    assert file_contents(tmp_path / "one") == file_contents(tmp_path / "two")
    refused = CliRunner().invoke(main, [*command, "--mask"])
    assert refused.exit_code == 1
    assert "--overwrite" in refused.output


@pytest.mark.parametrize("to", ["webdataset", pytest.param("lance", marks=pytest.mark.slow)])
def test_a_killed_export_is_continued(corpus: Workspace, tmp_path: Path, to: str) -> None:
    options = Options(to, shard_samples=2)
    export(corpus, tmp_path / "undisturbed", options)
    out = tmp_path / "killed"
    command = [
        "-m",
        "orchestration.cli.main",
        "export",
        str(out),
        "--to",
        to,
        "--shard-samples",
        "2",
    ]
    process = subprocess.Popen(
        [sys.executable, *command, "--corpus", str(corpus.root)], start_new_session=True
    )
    pattern = "*.tar" if to == "webdataset" else "samples.lance/data/*.lance"
    while len(list(out.glob(pattern))) < 5:
        assert process.poll() is None, "the export ended before it was killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "isotrope.json").exists()
    before = {p.name: p.stat().st_mtime_ns for p in out.glob(pattern)}
    assert 5 <= len(before) < kept_samples(corpus).num_rows // 2
    with pytest.raises(InputError, match="other decisions"):
        export(corpus, out, Options(to, shard_samples=3))
    export(corpus, out, options)
    assert not (out / STATE).exists()
    after = {p.name: p.stat().st_mtime_ns for p in out.glob(pattern)}
    kept = [name for name, time_ns in before.items() if after.get(name) == time_ns]
    assert len(kept) >= 3  # the shards whose staging record was written
    if to == "webdataset":
        assert file_contents(out) == file_contents(tmp_path / "undisturbed")
    else:
        one, two = (lance.dataset(f / "samples.lance") for f in (out, tmp_path / "undisturbed"))
        assert one.to_table().equals(two.to_table())
        assert len(after) == len(list((tmp_path / "undisturbed").glob(pattern)))
