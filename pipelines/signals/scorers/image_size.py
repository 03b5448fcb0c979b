"""Sizes of pictures, known since they were read: img2dataset's and LAION-5B's first filters."""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.signals.scorer import BatchScorer, Columns

_READ = ("image_width", "image_height", "image_bytes", "image_format")


def score(batch: pa.RecordBatch) -> Columns:
    """Side lengths in pixels as displayed, the longer over the shorter, bytes and format."""
    width, height = batch["image_width"], batch["image_height"]
    shorter, longer = pc.min_element_wise(width, height), pc.max_element_wise(width, height)
    return {
        "image_width": width,
        "image_height": height,
        "image_min_side": shorter,
        "image_aspect": pc.divide(longer.cast(pa.float32()), shorter.cast(pa.float32())),
        "image_bytes": batch["image_bytes"],
        "image_format": batch["image_format"],
    }


SIZE = BatchScorer("image_size", (*_READ, "image_min_side", "image_aspect"), _READ, score)
