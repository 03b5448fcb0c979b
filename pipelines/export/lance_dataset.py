"""Writer of Lance: shards are fragments of one dataset, committed at once when all are written."""

import json
from collections.abc import Iterable, Iterator

import lance
import pyarrow as pa
from lance.fragment import FragmentMetadata, write_fragments

from pipelines.export.shard_rows import ShardJob, read_shard
from store.tables.row_reader import row_reader
from store.tables.store_options import lance_options

NAME = "samples.lance"


def write(job: ShardJob, number: int) -> list[str]:
    """Write the data files of a shard. Returns the metadata of its fragments, as JSON."""

    def batches() -> Iterator[pa.RecordBatch]:
        for rows, _ in read_shard(job, number):
            yield from rows.to_batches()

    reader = row_reader(job.schema, batches())
    fragments = write_fragments(
        reader, _uri(job), job.schema, storage_options=_storage_options(job)
    )
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
    # A run may have been killed after it committed, before it wrote isotrope.json.
    for leftover in ("_versions", "_transactions"):
        job.target.delete_folder(f"{NAME}/{leftover}")
    metadata = [FragmentMetadata.from_json(f) for f in fragments]
    operation = lance.LanceOperation.Overwrite(job.schema, metadata)
    dataset = lance.LanceDataset.commit(_uri(job), operation, storage_options=_storage_options(job))
    committed = {f"{NAME}/data/{file.path}" for fragment in metadata for file in fragment.files}
    written = [file.path for file in job.target.list(f"{NAME}/data")]
    job.target.delete(path for path in written if path not in committed)
    return dataset.count_rows()


def _uri(job: ShardJob) -> str:
    return f"{job.target.root}/{NAME}"


def _storage_options(job: ShardJob) -> dict[str, str] | None:
    return lance_options(job.target.root, job.target.options)
