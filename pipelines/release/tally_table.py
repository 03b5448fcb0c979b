"""The table `tallies__{space}`: how the test queries of the newest release rank its galleries.

It has a row for each query and ranking: counts and the beginning of the result list.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.release.query_sets import DIGEST_BYTES
from pipelines.release.scan_gallery import DEPTH
from store.corrections.rank_tally import Tally
from store.tables.lance_tables import Tables
from store.tables.names import tallies_table

SCHEMA = pa.schema(
    [
        pa.field("gallery", pa.string(), False),
        pa.field("version", pa.int64(), False),
        pa.field("content", pa.string(), False),
        pa.field("banks_version", pa.int64(), False),
        pa.field("banks_content", pa.string(), False),
        pa.field("direction", pa.string(), False),
        pa.field("ranking", pa.string(), False),
        pa.field("query", pa.binary(DIGEST_BYTES), False),
        pa.field("ahead", pa.list_(pa.int64()), False),
        pa.field("top", pa.list_(pa.float32(), DEPTH), False),
        pa.field("keys", pa.list_(pa.uint64(), DEPTH), False),
        pa.field("flags", pa.list_(pa.bool_(), DEPTH), False),
        pa.field("complete", pa.bool_(), False),
    ]
)
_LISTS = ("top", "keys", "flags")


class Versions(NamedTuple):
    """The versions of a gallery and of the banks that tallies are of.

    Beside them are hashes of their files: after a repair, other rows can have the same version.
    """

    version: int
    content: str
    banks_version: int
    banks_content: str


class RankedQueries(NamedTuple):
    """A ranking of a gallery by n queries of one direction.

    Attributes:
        digests: n hashes of the queries (`QuerySet.digests`).
        answers: (n,) the number of right answers of each query.
        tally: of all queries.
    """

    digests: Sequence[bytes]
    answers: np.ndarray
    tally: Tally


Rankings: TypeAlias = dict[tuple[str, str], RankedQueries]  # by direction and ranking
GalleryTallies: TypeAlias = tuple[Versions, Rankings]


def read_tallies(tables: Tables, space: str) -> dict[str, GalleryTallies]:
    """The stored tallies by modality of the gallery. Empty: there are none."""
    table = tables.scan(tallies_table(space), SCHEMA)
    read: dict[str, GalleryTallies] = {}
    names = ["gallery", *Versions._fields, "direction", "ranking"]
    for group in table.select(names).group_by(names).aggregate([]).to_pylist():
        versions = Versions(*(group[name] for name in Versions._fields))
        _, rankings = read.setdefault(group["gallery"], (versions, {}))
        selected = table
        for name in ("gallery", "direction", "ranking"):
            selected = selected.filter(pc.equal(selected[name], group[name]))
        rankings[group["direction"], group["ranking"]] = _ranked(selected.combine_chunks())
    return read


def write_tallies(tables: Tables, space: str, galleries: Mapping[str, GalleryTallies]) -> None:
    """Replace the rows of the table."""
    batches = [
        _batch(
            {"gallery": modality, **versions._asdict(), "direction": name, "ranking": ranking}, r
        )
        for modality, (versions, rankings) in galleries.items()
        for (name, ranking), r in rankings.items()
    ]
    tables.replace(tallies_table(space), SCHEMA, batches, None)


def _ranked(rows: pa.Table) -> RankedQueries:
    top, keys, flags = (
        rows[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, DEPTH)
        for name in _LISTS
    )
    ahead = rows["ahead"].combine_chunks()
    return RankedQueries(
        rows["query"].to_pylist(),
        pc.list_value_length(ahead).to_numpy().astype(np.int64),
        Tally(
            ahead.flatten().to_numpy(),
            top,
            keys,
            flags,
            rows["complete"].to_numpy(),
        ),
    )


def _batch(constants: Mapping[str, str | int], ranked: RankedQueries) -> pa.RecordBatch:
    tally, rows = ranked.tally, len(ranked.digests)
    offsets = np.concatenate([[0], np.cumsum(ranked.answers)]).astype(np.int32)
    columns = {
        name: pa.array([value] * rows, SCHEMA.field(name).type) for name, value in constants.items()
    }
    columns["query"] = pa.array(ranked.digests, pa.binary(DIGEST_BYTES))
    columns["ahead"] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(tally.ahead))
    for name in _LISTS:
        values = pa.array(np.ascontiguousarray(getattr(tally, name)).reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(values, DEPTH)
    columns["complete"] = pa.array(tally.complete)
    return pa.RecordBatch.from_arrays([columns[n] for n in SCHEMA.names], schema=SCHEMA)
