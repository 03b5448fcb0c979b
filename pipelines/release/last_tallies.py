"""Rank test queries by difference to the last release: only the rows that changed are ranked.

A query whose vector, right answers and their scores are as before keeps its counts and its result
list. What the removed rows of the gallery added to them is subtracted, and the added rows are
counted. Other queries are ranked in the whole gallery, and so are those whose list became shorter
than K. A row is removed or added also if its cluster left the bank or joined it.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.release.known_items import bank_clusters
from pipelines.release.query_sets import K, QuerySet, item_keys
from pipelines.release.scan_gallery import Scan, Tallies, tally_gallery
from pipelines.release.tally_table import (
    GalleryTallies,
    RankedQueries,
    Rankings,
    Versions,
    read_tallies,
    write_tallies,
)
from store.corrections.rank_tally import Tally
from store.errors import NotFoundError
from store.tables.banks import Banks
from store.tables.lance_tables import Tables
from store.tables.row_difference import RowDifference, content, row_difference
from store.tables.table_version import TableVersion, take_rows

_MOST_CHANGED = 0.5  # of the rows of a gallery; beyond that, ranking all rows is no dearer


class _Change(NamedTuple):
    """What changed in a gallery since its tallies were stored.

    Attributes:
        old: the gallery of these tallies.
        rows: that are not in both.
        in_bank: the clusters that were not searched, by name of the direction.
    """

    old: TableVersion
    rows: RowDifference
    in_bank: dict[str, np.ndarray]


class _Known(NamedTuple):
    """Queries of a set with their tallies.

    Attributes:
        queries: (n,) their numbers in the set, ascending.
        tallies: by ranking; empty if there are no queries.
    """

    queries: np.ndarray
    tallies: dict[str, Tally]


class LastTallies:
    """The tallies of a space's last release. Those that are made now take their place.

    Args:
        tables: of the corpus.
        space: its name.
        banks: the table of banks that is evaluated on.
        used: whether the stored tallies are used.
    """

    def __init__(self, tables: Tables, space: str, banks: TableVersion, used: bool = True):
        self._tables, self._space, self._banks = tables, space, banks
        self._galleries: dict[str, GalleryTallies] = read_tallies(tables, space) if used else {}

    def write(self) -> None:
        """Store the tallies."""
        write_tallies(self._tables, self._space, self._galleries)

    def tally(
        self, modality: str, gallery: TableVersion, scan: Scan, address: str | None = None
    ) -> Tallies:
        """The tallies of each set of queries over a gallery, as `tally_gallery` makes them.

        Scores that are equal at the end of a result list may be ordered otherwise.

        Args:
            modality: of the gallery.
            gallery: its version.
            scan: what is ranked in it.
            address: of a Ray cluster.
        """
        now = self._versions(gallery)
        change = self._change(modality, gallery, scan)
        last: Rankings = {} if change is None else self._galleries[modality][1]
        digests = [{name: s.digests(name) for name in s.items} for s in scan.sets]
        known = [_known(s, d, last) for s, d in zip(scan.sets, digests, strict=True)]
        if change is not None:
            known = _updated(scan, known, change, gallery, address)
        rest = [
            np.setdiff1d(np.arange(len(s.vectors)), k.queries)
            for s, k in zip(scan.sets, known, strict=True)
        ]
        sets = [s.take(queries) for s, queries in zip(scan.sets, rest, strict=True)]
        ranked = tally_gallery(gallery, replace(scan, sets=sets), address)
        tallies = [_joined(*each) for each in zip(scan.sets, known, rest, ranked, strict=True)]
        same = change is not None and not any(map(len, change.rows))
        self._galleries[modality] = now, (last if same else {}) | _rankings(scan, digests, tallies)
        return tallies

    def _versions(self, gallery: TableVersion) -> Versions:
        of_banks = content(self._banks.open())
        return Versions(gallery.version, content(gallery.open()), self._banks.version, of_banks)

    def _change(self, modality: str, gallery: TableVersion, scan: Scan) -> _Change | None:
        """The change of a gallery since its tallies were stored. None: all of it is ranked."""
        if modality not in self._galleries:
            return None
        versions, _ = self._galleries[modality]
        old = TableVersion(self._tables, gallery.name, versions.version)
        old_banks = TableVersion(self._tables, self._banks.name, versions.banks_version)
        try:
            contents = content(old.open()), content(old_banks.open())
        except NotFoundError:  # the release is no longer kept
            return None
        columns = old.open().schema.names
        if contents != (versions.content, versions.banks_content) or not set(scan.columns()) <= set(
            columns
        ):
            return None
        rows = row_difference(old.open(), gallery.open())
        in_bank = dict(scan.in_bank)
        if contents[1] != content(self._banks.open()):
            banks = Banks(old_banks.open())
            directions = {s.direction.name: s.direction for s in scan.sets}
            in_bank |= {name: bank_clusters(banks, d) for name, d in directions.items()}
            moved = [np.setxor1d(in_bank[name], scan.in_bank[name]) for name in directions]
            rows = _with_clusters(gallery, rows, np.unique(np.concatenate(moved)))
        most = _MOST_CHANGED * gallery.open().count_rows()
        if len(rows.removed) + len(rows.added) > most:
            return None
        return _Change(old, rows, in_bank)


def _with_clusters(
    gallery: TableVersion, rows: RowDifference, clusters: np.ndarray
) -> RowDifference:
    """The difference with the rows of some clusters, which count as removed and added."""
    if not len(clusters):
        return rows
    moved = [np.empty(0, np.uint64)]
    for batch in gallery.open().scanner(columns=["cluster"], with_row_id=True).to_batches():
        is_moved = pc.is_in(batch["cluster"], value_set=pa.array(clusters, pa.string()))
        moved.append(batch["_rowid"].filter(is_moved).to_numpy())
    shared = np.setdiff1d(np.concatenate(moved), rows.added)
    return RowDifference(*(np.concatenate([ids, shared]) for ids in rows))


def _known(query_set: QuerySet, digests: dict[str, list[bytes]], last: Rankings) -> _Known:
    """The queries of a set whose tallies of all rankings are known."""
    name = query_set.direction.name
    if any((name, ranking) not in last for ranking in digests):
        return _Known(np.empty(0, np.int64), {})
    rows = {}
    for ranking, hashes in digests.items():
        row_of = {digest: row for row, digest in enumerate(last[name, ranking].digests)}
        rows[ranking] = np.array([row_of.get(digest, -1) for digest in hashes], np.int64)
    queries = np.flatnonzero(np.min(list(rows.values()), axis=0) >= 0)
    tallies = {}
    for ranking, of_queries in rows.items():
        ranked = last[name, ranking]
        tallies[ranking] = ranked.tally.take(of_queries[queries], ranked.answers)
    return _Known(queries, tallies)


def _updated(
    scan: Scan, known: list[_Known], change: _Change, gallery: TableVersion, address: str | None
) -> list[_Known]:
    """Known tallies in the gallery of now, without the queries whose lists are too short."""
    sets = [s.take(k.queries) for s, k in zip(scan.sets, known, strict=True)]
    before, after = replace(scan, sets=sets, in_bank=change.in_bank), replace(scan, sets=sets)
    removed = tally_gallery(change.old, before, address, change.rows.removed)
    added = tally_gallery(gallery, after, address, change.rows.added)
    keys = item_keys(take_rows(change.old, change.rows.removed.tolist(), ["part_id"])["part_id"])
    updated = []
    for query_set, k, less, more in zip(sets, known, removed, added, strict=True):
        tallies = {n: t.without(less[n], keys) + more[n] for n, t in k.tallies.items()}
        reaches = np.ones(len(k.queries), bool)
        for tally in tallies.values():
            reaches &= tally.reaches(K)
        kept = np.flatnonzero(reaches)
        counts = {name: items.relevant.count for name, items in query_set.items.items()}
        tallies = {name: tally.take(kept, counts[name]) for name, tally in tallies.items()}
        updated.append(_Known(k.queries[kept], tallies))
    return updated


def _joined(
    query_set: QuerySet, known: _Known, rest: np.ndarray, ranked: dict[str, Tally]
) -> dict[str, Tally]:
    """The tallies of all queries of a set: the known ones, and those of the rest."""
    if not len(known.queries):
        return ranked
    numbers = np.concatenate([known.queries, rest])
    order = np.argsort(numbers)
    return {
        name: Tally.join([known.tallies[name], ranked[name]]).take(
            order, items.relevant.count[numbers]
        )
        for name, items in query_set.items.items()
    }


def _rankings(scan: Scan, digests: list[dict[str, list[bytes]]], tallies: Tallies) -> Rankings:
    parts: dict[tuple[str, str], list[RankedQueries]] = {}
    for query_set, hashes, by_ranking in zip(scan.sets, digests, tallies, strict=True):
        for ranking, tally in by_ranking.items():
            count = query_set.items[ranking].relevant.count
            ranked = RankedQueries(hashes[ranking], count, tally)
            parts.setdefault((query_set.direction.name, ranking), []).append(ranked)
    return {
        key: RankedQueries(
            [digest for part in ranked for digest in part.digests],
            np.concatenate([part.answers for part in ranked]),
            Tally.join([part.tally for part in ranked]),
        )
        for key, ranked in parts.items()
    }
