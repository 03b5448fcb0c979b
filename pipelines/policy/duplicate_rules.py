"""The policy's second phase: reject duplicates and contaminated samples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.policy import duplicate_index
from pipelines.policy.column_files import Columns
from pipelines.policy.verdicts import Explain
from store.tables import schema
from store.workspace import Workspace


@dataclass(frozen=True)
class DuplicateRules:
    """The rows of `duplicates`, as rules about samples.

    Attributes:
        index: the samples that `duplicates` names (`duplicate_index.build_index`).
        lost: reads the rows of `duplicates` that are lost.
        exact: reads, for each content that is in several drops, the drop that represents it.
        limits: the threshold of each kind, as in the section `duplicates` of corpus.yaml.
    """

    index: pa.Table
    lost: Callable[[], pa.Table]
    exact: Callable[[], pa.Table]
    limits: dict[str, Any]

    def rejected(self, kept: np.ndarray) -> Iterator[tuple[str, np.ndarray, Explain]]:
        """The samples that are lost, among those that are kept so far.

        A sample that is near to one that is not kept has no survivor any more, and is not lost.

        Args:
            kept: (samples,) bool.

        Returns:
            For each kind: the name of the rule, the rows that it rejects, and how to explain them.
        """
        lost = self.index.filter(pc.is_valid(self.index["place"])).combine_chunks()
        named_rows, names = (self.index[c].to_numpy() for c in ("row", "name"))
        rows, survivor, place = (lost[c].to_numpy() for c in ("row", "survivor", "place"))
        # The last element stands for survivor -1, which is no sample, and stays False.
        is_alive = np.zeros(max(names.max(initial=-1), survivor.max(initial=-1)) + 2, bool)
        is_alive[names[kept[named_rows]]] = True
        survives, eligible = is_alive[survivor], kept[rows]
        kinds = lost["kind"].combine_chunks()
        code = kinds.indices.to_numpy()
        for number, kind in sorted(enumerate(kinds.dictionary.to_pylist()), key=lambda k: k[1]):
            is_rejected = (code == number) & eligible
            if _is_near(kind):
                is_rejected &= survives
            yield _rule(kind), rows[is_rejected], self._explain(kind, rows, place)

    def _explain(self, kind: str, lost_rows: np.ndarray, place: np.ndarray) -> Explain:
        """Explain rows of a kind: the value is the survivor's id, or drop, or the evaluation's key.

        Args:
            lost_rows: (k,) all lost samples, ascending.
            place: (k,) their rows in `lost()`.
        """
        limit = None if kind == "exact" else self.limits.get(kind)

        def explain(rows: np.ndarray) -> tuple[pa.Array, pa.Array]:
            duplicates_rows = pa.array(place[np.searchsorted(lost_rows, rows)])
            value = self.lost()["cluster"].take(duplicates_rows).combine_chunks()
            if kind == "exact":
                representatives = self.exact()
                index = pc.index_in(value, value_set=representatives["cluster"].combine_chunks())
                value = representatives["drop"].combine_chunks().take(index)
            threshold = None if limit is None else str(limit)
            return value, pa.array([threshold] * len(rows), pa.string())

        return explain


def duplicate_rules(
    workspace: Workspace, index: pa.Table | None, samples: Columns
) -> DuplicateRules:
    """The rules of the table `duplicates` for `samples`.

    Args:
        index: as cached (`duplicate_index.read_cache`); None to build it.
        samples: as `pipelines.policy.signal_columns.packed` gives them, with `drop` and `id` if
            there is no index.
    """
    scan = partial(workspace.tables.scan, "duplicates", schema.DUPLICATES)
    lost = cache(lambda: scan(duplicate_index.COLUMNS, duplicate_index.LOST))
    return DuplicateRules(
        duplicate_index.build_index(lost(), samples) if index is None else index,
        lost,
        cache(lambda: scan(["drop", "cluster"], "representative AND kind = 'exact'")),
        workspace.config.duplicates.model_dump(),
    )


def _is_near(kind: str) -> bool:
    return kind != "exact" and not kind.startswith(schema.EVALUATION_PREFIX)


def _rule(kind: str) -> str:
    if kind.startswith(schema.EVALUATION_PREFIX):
        return f"decontamination.{kind.removeprefix(schema.EVALUATION_PREFIX)}"
    return f"duplicate.{kind}"
