"""Compare the stage `samples` with a plain loop that reads, decodes, hashes and writes once.

    python -m benchmarks.plain_ingest --samples 20000

Samples are those of `benchmarks.growth`: a picture of 32 pixels and a caption, in tar shards. The
loop uses tarfile, Pillow, BLAKE2b and Lance in one process; it checks nothing beyond what these
raise. The stage runs on Ray, which is started before. Seconds are those of the processors, of the
driver and all of its children.
"""

import argparse
import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lance
import pyarrow as pa
from PIL import Image

from assets.metadata.usage import measured
from benchmarks.growth import configure, write_drop
from embedders.pool.ray_cluster import cluster
from pipelines.samples.stage import ingest
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.workspace import Workspace

_ROWS = 256  # of a batch
_STRINGS = ("key", "text", "image_id", "text_id", "id")
_COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in _STRINGS),
        ("image", pa.large_binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


def plain_loop(drop: Path, table: Path) -> None:
    """Write the samples of a drop of tars, each with a PNG and a caption."""
    lance.write_dataset(
        pa.RecordBatchReader.from_batches(_COLUMNS, _batches(drop)), table, schema=_COLUMNS
    )


def _batches(drop: Path) -> Iterator[pa.RecordBatch]:
    rows: list[dict] = []
    for row in _rows(drop):
        rows.append(row)
        if len(rows) == _ROWS:
            yield pa.RecordBatch.from_pylist(rows, schema=_COLUMNS)
            rows = []
    yield pa.RecordBatch.from_pylist(rows, schema=_COLUMNS)


def _rows(drop: Path) -> Iterator[dict]:
    for path in sorted(drop.glob("*.tar")):
        with tarfile.open(path) as tar:
            parts: dict[str, bytes] = {}
            for member in tar:
                key, _, extension = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                parts[extension] = file.read()
                if len(parts) == 2:
                    yield {"key": key, **_sample(parts["png"], parts["txt"])}
                    parts = {}


def _sample(image: bytes, text: bytes) -> dict:
    with Image.open(io.BytesIO(image)) as opened:
        opened.load()
    ids = [hashlib.blake2b(part, digest_size=16).hexdigest() for part in (image, text)]
    return {
        "text": text.decode(),
        "image_id": ids[0],
        "text_id": ids[1],
        "id": hashlib.blake2b("|".join(ids).encode(), digest_size=16).hexdigest(),
        "image": image,
        "width": opened.width,
        "height": opened.height,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, cluster():
        root = Path(folder)
        drop = root / "drops" / "base"
        write_drop(drop, range(arguments.samples))
        configure(root, 5)
        workspace = Workspace.open(root)
        context = StageContext(workspace, staleness.drops(workspace)["base"])
        for number in range(arguments.repeats):
            with measured() as plain:
                plain_loop(drop, root / f"plain-{number}.lance")
            with measured() as stage:
                ingest(context)
            ratio = stage.processor_seconds / plain.processor_seconds
            print(
                f"plain loop {plain.processor_seconds:.1f} s, samples"
                f" {stage.processor_seconds:.1f} s: {ratio:.2f} times; by the clock"
                f" {plain.seconds:.1f} and {stage.seconds:.1f} s"
            )


if __name__ == "__main__":
    main()
