"""Writer of Parquet shards: one row a sample, media as bytes.

Row groups are a few megabytes, so that a reader needs no more than one of them in memory.
"""

from pathlib import Path

import pyarrow.parquet as pq

from pipelines.export.shard_rows import ShardJob, read_shard

NAME = "samples.parquet/{:06d}.parquet"  # the folder can be read as one table
_MEDIA = ("image", "audio")  # these are compressed already


def write(job: ShardJob, number: int, path: Path) -> None:
    """Write a shard. The metadata of its schema says what it was made of."""
    columns = job.schema
    compression = {n: "none" if n in _MEDIA else "zstd" for n in columns.names}
    dictionary = [n for n in columns.names if n in ("drop", "source") or n.endswith("_format")]
    with pq.ParquetWriter(
        path,
        columns,
        compression=compression,
        use_dictionary=dictionary,
        write_statistics=[n for n in columns.names if n not in (*_MEDIA, "text", "meta")],
    ) as writer:
        for rows, _ in read_shard(job, number):
            writer.write_table(rows)


def count(path: Path) -> int:
    """How many samples a shard holds."""
    return pq.read_metadata(path).num_rows
