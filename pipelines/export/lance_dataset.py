"""Shards as fragments of one Lance dataset, which is there in one commit when all of them are."""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import lance
import pyarrow as pa
from lance.fragment import FragmentMetadata, write_fragments

from pipelines.export.shard_rows import Job, read

NAME = "samples.lance"


def write(job: Job, number: int) -> list[str]:
    """Write a shard's data files; returns its fragments, as JSON."""

    def batches() -> Iterator[pa.RecordBatch]:
        for rows, _ in read(job, number):
            yield from rows.to_batches()

    reader = pa.RecordBatchReader.from_batches(job.schema, batches())
    made = write_fragments(reader, Path(job.folder, NAME), job.schema)
    return [json.dumps(fragment.to_json()) for fragment in made]


def measure(fragments: Iterable[str]) -> tuple[int, int]:
    """Samples and bytes of fragments."""
    listed = [FragmentMetadata.from_json(f) for f in fragments]
    files = [file for fragment in listed for file in fragment.files]
    return sum(f.physical_rows for f in listed), sum(f.file_size_bytes or 0 for f in files)


def commit(job: Job, fragments: Iterable[str]) -> int:
    """Make the dataset of all shards' fragments; returns how many samples it holds.

    Data files that interrupted runs left are removed.
    """
    uri = Path(job.folder, NAME)
    for left in ("_versions", "_transactions"):  # of a run that died before its last word
        shutil.rmtree(uri / left, ignore_errors=True)
    listed = [FragmentMetadata.from_json(f) for f in fragments]
    operation = lance.LanceOperation.Overwrite(job.schema, listed)
    dataset = lance.LanceDataset.commit(uri, operation)
    known = {file.path for fragment in listed for file in fragment.files}
    for file in (uri / "data").rglob("*"):
        if file.is_file() and str(file.relative_to(uri / "data")) not in known:
            file.unlink()
    return dataset.count_rows()
