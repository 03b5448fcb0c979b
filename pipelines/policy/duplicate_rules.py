"""The policy's second phase: samples that another one stands for, and contaminated ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.policy import duplicate_index
from pipelines.policy.verdicts import Explain
from store.tables import schema
from store.workspace import Workspace


@dataclass(frozen=True)
class DuplicateRules:
    """What `duplicates` says of samples.

    Args:
        rows: of the samples that it names, lost ones and survivors, as `lost_rows.find` gives them.
        found: gives the rows of `duplicates` that are lost.
        exact: gives, of each content that is in several drops, the drop that stands for the others.
        limits: how near is near, by kind.
    """

    rows: pa.Table
    found: Callable[[], pa.Table]
    exact: Callable[[], pa.Table]
    limits: dict[str, Any]

    def rejected(self, kept: np.ndarray) -> Iterator[tuple[str, np.ndarray, Explain]]:
        """Rule, rows and how to tell why, of what is lost among those that are `kept`, (n,) bool.

        What is near to a sample that is not kept itself has lost its survivor, and stays.
        """
        gone = self.rows.filter(pc.is_valid(self.rows["place"])).combine_chunks()
        named, names = (self.rows[c].to_numpy() for c in ("row", "name"))
        rows, survivor, place = (gone[c].to_numpy() for c in ("row", "survivor", "place"))
        alive = np.zeros(max(names.max(initial=-1), survivor.max(initial=-1)) + 2, bool)
        alive[names[kept[named]]] = True  # the last one is nobody
        alive, eligible = alive[survivor], kept[rows]
        kinds = gone["kind"].combine_chunks()
        code = kinds.indices.to_numpy()
        for number, kind in sorted(enumerate(kinds.dictionary.to_pylist()), key=lambda k: k[1]):
            lost = (code == number) & eligible
            if _is_near(kind):
                lost &= alive
            yield _rule(kind), rows[lost], self._explain(kind, rows, place)

    def _explain(self, kind: str, lost: np.ndarray, place: np.ndarray) -> Explain:
        limit = None if kind == "exact" else self.limits.get(kind)

        def explain(rows: np.ndarray) -> tuple[pa.Array, pa.Array]:
            there = pa.array(place[np.searchsorted(lost, rows)])
            value = self.found()["cluster"].take(there).combine_chunks()
            if kind == "exact":
                firsts = self.exact()
                first = pc.index_in(value, value_set=firsts["cluster"].combine_chunks())
                value = firsts["drop"].combine_chunks().take(first)
            told = None if limit is None else str(limit)
            return value, pa.array([told] * len(rows), pa.string())

        return explain


def lost(workspace: Workspace, rows: pa.Table | None, samples: pa.Table) -> DuplicateRules:
    """What is lost among `samples`.

    Args:
        rows: what `lost_rows` holds of it; without it, `samples` has `drop` and `id`.
    """
    scan = partial(workspace.tables.scan, "duplicates", schema.DUPLICATES)
    found = cache(lambda: scan(duplicate_index.COLUMNS, duplicate_index.LOST))
    return DuplicateRules(
        duplicate_index.find(found(), samples) if rows is None else rows,
        found,
        cache(lambda: scan(["drop", "cluster"], "representative AND kind = 'exact'")),
        workspace.config.duplicates.model_dump(),
    )


def _is_near(kind: str) -> bool:
    return kind != "exact" and not kind.startswith(schema.EVALUATION)


def _rule(kind: str) -> str:
    if kind.startswith(schema.EVALUATION):
        return f"decontamination.{kind.removeprefix(schema.EVALUATION)}"
    return f"duplicate.{kind}"
