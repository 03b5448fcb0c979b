"""The columns of `concepts__{space}`: vectors of the concepts that a policy matches by vectors."""

import pyarrow as pa


def concept_vectors(dim: int) -> pa.Schema:
    """The columns, for vectors of `dim` dimensions.

    - `name`: the concept, normalised as captions are (`pipelines.policy.concepts`).
    - `encoder`: the fingerprint of what made the vector.
    - `vector`: of unit length; null if the encoder rejects the name.
    """
    return pa.schema(
        [
            pa.field("name", pa.large_string(), False),
            pa.field("encoder", pa.string(), False),
            pa.field("vector", pa.list_(pa.float32(), dim)),
        ]
    )
