"""Groups of samples, by the values of a column."""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.policy.column_files import Values


def group_rows(column: pa.ChunkedArray, group: Values) -> list[str | None]:
    """Number the distinct values of a column.

    Args:
        column: (n,) values.
        group: (n,) int32, is filled with the number of each row's value.

    Returns:
        The values by number, as strings. The last one is None, for null.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries()
    names = encoded.chunk(0).dictionary.cast(pa.string()).to_pylist() if encoded.num_chunks else []
    start = 0
    for chunk in encoded.chunks:
        numbers = pc.fill_null(chunk.indices, len(names)).to_numpy(zero_copy_only=False)
        group[start : start + len(chunk)] = numbers
        start += len(chunk)
    return [*names, None]
