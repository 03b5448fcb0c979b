"""Writer of Lance: shards are fragments of one dataset, committed at once when all are written."""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import lance
import pyarrow as pa
from lance.fragment import FragmentMetadata, write_fragments

from pipelines.export.shard_rows import ShardJob, read_shard

NAME = "samples.lance"


def write(job: ShardJob, number: int) -> list[str]:
    """Write the data files of a shard. Returns the metadata of its fragments, as JSON."""

    def batches() -> Iterator[pa.RecordBatch]:
        for rows, _ in read_shard(job, number):
            yield from rows.to_batches()

    reader = pa.RecordBatchReader.from_batches(job.schema, batches())
    fragments = write_fragments(reader, Path(job.folder, NAME), job.schema)
    return [json.dumps(fragment.to_json()) for fragment in fragments]


def measure(fragments: Iterable[str]) -> tuple[int, int]:
    """The number of samples and of bytes of fragments."""
    metadata = [FragmentMetadata.from_json(f) for f in fragments]
    files = [file for fragment in metadata for file in fragment.files]
    return sum(f.physical_rows for f in metadata), sum(f.file_size_bytes or 0 for f in files)


def commit(job: ShardJob, fragments: Iterable[str]) -> int:
    """Make the dataset of all shards' fragments. Returns how many samples it holds.

    Data files that interrupted runs left behind are removed.
    """
    uri = Path(job.folder, NAME)
    # A run may have been killed after it committed, before it wrote isotrope.json.
    for leftover in ("_versions", "_transactions"):
        shutil.rmtree(uri / leftover, ignore_errors=True)
    metadata = [FragmentMetadata.from_json(f) for f in fragments]
    operation = lance.LanceOperation.Overwrite(job.schema, metadata)
    dataset = lance.LanceDataset.commit(uri, operation)
    committed = {file.path for fragment in metadata for file in fragment.files}
    for file in (uri / "data").rglob("*"):
        if file.is_file() and str(file.relative_to(uri / "data")) not in committed:
            file.unlink()
    return dataset.count_rows()
