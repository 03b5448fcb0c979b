"""The table of what the signals of pairs are measured against (`pipelines.pairs.draw`)."""

import pyarrow as pa


def pair_draws(dim: int) -> pa.Schema:
    """The columns of `pair_draws__{space}`, for vectors of `dim` dimensions.

    All rows were drawn at once; `draw` is the hash of the settings. `number` counts the rows of one
    kind and name, or the samples of a bank, from 0. The values of `kind` are:

    - `population`: `value` is the number of samples with the modalities of `name`, one (`image`) or
      two (`text_image`), when the rows were drawn.
    - `bank`: the part `modality` of a random sample with the two modalities of `name`.
    - `centroid`: a centroid of the clusters of a modality. It is no part.
    - `sentinel`: a part that is a query for parts of the modality `name`; `value` is the score from
      which on a part is one of its nearest.
    """
    return pa.schema(
        [
            *(pa.field(n, pa.string(), nullable=False) for n in ("draw", "kind", "name")),
            pa.field("number", pa.int32(), nullable=False),
            pa.field("modality", pa.string()),
            pa.field("sample_id", pa.string()),
            pa.field("part_id", pa.string()),
            pa.field("value", pa.float64()),
            pa.field("vector", pa.list_(pa.float32(), dim)),
        ]
    )
