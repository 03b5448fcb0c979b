"""The size of an image, from what reading has stored in `samples`.

These are the first filters of img2dataset and LAION-5B.
"""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.signals.scorer import BatchScorer, Columns
from store.tables.signals import SCORERS

_READ = ("image_width", "image_height", "image_bytes", "image_format")


def score(batch: pa.RecordBatch) -> Columns:
    """Width, height and the shorter side in pixels as displayed, aspect (longer side divided by
    shorter side), bytes, format."""
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


SIZE = BatchScorer("image_size", SCORERS["image_size"].names, _READ, score)
