"""The policy's second phase: samples that another one stands for, and contaminated ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.verdicts import Explain
from store import schema
from store.identity import PACKED, pack, words
from store.workspace import Workspace

_BITS = 24


@dataclass(frozen=True)
class Lost:
    """What `duplicates` says of samples.

    Args:
        found: the rows of `duplicates` that are lost and are among the samples.
        rows: (k,) the samples' rows of these, in order.
        named: rows of samples that `found` names, lost ones and survivors, (m,), and what they are
            called, (m,) numbers.
        survivor: (k,) the number of what each is lost to, -1 where it is no sample.
        exact: gives, of each content that is in several drops, the drop that stands for the others.
        limits: how near is near, by kind.
    """

    found: pa.Table
    rows: np.ndarray
    named: tuple[np.ndarray, np.ndarray]
    survivor: np.ndarray
    exact: Callable[[], pa.Table]
    limits: dict[str, Any]

    def rejected(self, kept: np.ndarray) -> Iterator[tuple[str, np.ndarray, Explain]]:
        """Rule, rows and how to tell why, of what is lost among those that are `kept`, (n,) bool.

        What is near to a sample that is not kept itself has lost its survivor, and stays.
        """
        rows, names = self.named
        alive = np.zeros(max(names.max(initial=-1), self.survivor.max(initial=-1)) + 2, bool)
        alive[names[kept[rows]]] = True  # the last one is nobody
        kinds = self.found["kind"].combine_chunks().dictionary_encode()
        code = kinds.indices.to_numpy()
        for number, kind in sorted(enumerate(kinds.dictionary.to_pylist()), key=lambda k: k[1]):
            stays = _is_near(kind) & ~alive[self.survivor]
            lost = np.flatnonzero((code == number) & kept[self.rows] & ~stays)
            yield _rule(kind), self.rows[lost], self._explain(kind)

    def _explain(self, kind: str) -> Explain:
        limit = None if kind == "exact" else self.limits.get(kind)

        def explain(rows: np.ndarray) -> tuple[pa.Array, pa.Array]:
            place = pa.array(np.searchsorted(self.rows, rows))
            value = self.found["cluster"].take(place).combine_chunks()
            if kind == "exact":
                firsts = self.exact()
                first = pc.index_in(value, value_set=firsts["cluster"].combine_chunks())
                value = firsts["drop"].combine_chunks().take(first)
            told = None if limit is None else str(limit)
            return value, pa.array([told] * len(rows), pa.string())

        return explain


def lost(workspace: Workspace, samples: pa.Table) -> Lost:
    """What is lost among `samples`: `drop` and `id`, as `pipelines.measured.packed` gives them."""
    scan = partial(workspace.tables.scan, "duplicates", schema.DUPLICATES)
    return among(
        scan(["drop", "id", "cluster", "kind"], "NOT representative"),
        samples,
        cache(lambda: scan(["drop", "cluster"], "representative AND kind = 'exact'")),
        workspace.config.duplicates.model_dump(),
    )


def among(
    found: pa.Table, samples: pa.Table, exact: Callable[[], pa.Table], limits: dict[str, Any]
) -> Lost:
    """The same of rows of `duplicates` that are lost."""
    own, cluster = _packed(found["id"]), pa.nulls(found.num_rows, PACKED)
    near = pc.invert(_stands_anyway(found["kind"])).combine_chunks()
    cluster = pc.replace_with_mask(cluster, near, _packed(found["cluster"].filter(near)))
    rows, ids = _likely(samples["id"], [own, cluster.drop_null()])
    # Each id has one number, in the order in which they come: those that `found` names come first.
    whole = pa.chunked_array([own, cluster, ids]).dictionary_encode().combine_chunks()
    number = pc.fill_null(whole.indices, -1).to_numpy().astype(np.int64)
    own_name, survivor, name = np.split(number, [len(own), 2 * len(own)])
    known = name <= max(own_name.max(initial=-1), survivor.max(initial=-1))
    rows, name = rows[known], name[known]
    # An id may be in several drops, and lost in some of them only.
    drops = samples["drop"].combine_chunks()
    drop = pc.index_in(found["drop"], value_set=drops.dictionary.cast(pa.string()))
    drop = pc.fill_null(drop, -1).to_numpy().astype(np.int64)
    count = len(drops.dictionary) + 1
    there = pa.array(own_name * count + drop)
    place = pc.index_in(pa.array(name * count + drops.indices.to_numpy()[rows]), value_set=there)
    here = pc.is_valid(place)
    which = place.filter(here)
    rows_lost = rows[here.to_numpy(zero_copy_only=False)]
    survivor = survivor[which.to_numpy()]
    return Lost(found.take(which), rows_lost, (rows, name), survivor, exact, limits)


def _packed(ids: pa.ChunkedArray) -> pa.Array:
    return pack(ids.combine_chunks())


def _likely(ids: pa.ChunkedArray, names: list[pa.Array]) -> tuple[np.ndarray, pa.Array]:
    """Rows whose id may be among names, and these ids: by the first bits, every one whose is, and
    few others."""
    wanted = np.zeros(1 << _BITS, bool)
    for some in names:
        wanted[_first_bits(some)] = True
    start, rows, likely = 0, [np.zeros(0, np.int64)], [pa.array([], PACKED)]
    for chunk in ids.chunks:
        places = np.flatnonzero(wanted[_first_bits(chunk)])
        rows.append(places + start)
        likely.append(chunk.take(pa.array(places)))
        start += len(chunk)
    return np.concatenate(rows), pa.concat_arrays(likely)


def _first_bits(ids: pa.Array) -> np.ndarray:
    return (words(ids, ">u4")[:, 0] >> np.uint32(32 - _BITS)).astype(np.int32)


def _stands_anyway(kind: pa.ChunkedArray) -> pa.ChunkedArray:
    """Equal content has equal signals, and evaluation samples are never judged."""
    return pc.or_(pc.equal(kind, "exact"), pc.starts_with(kind, schema.EVALUATION))


def _is_near(kind: str) -> bool:
    return kind != "exact" and not kind.startswith(schema.EVALUATION)


def _rule(kind: str) -> str:
    if kind.startswith(schema.EVALUATION):
        return f"decontamination.{kind.removeprefix(schema.EVALUATION)}"
    return f"duplicate.{kind}"
