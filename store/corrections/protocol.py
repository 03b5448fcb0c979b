"""Whether an evaluation is inductive: of queries that the correction has not been fitted on.

Fitting on the very queries that are then judged (transductive) shows what a correction could do
if all queries were known beforehand. It flatters, so it is never taken for granted and always
labelled.
"""

from typing import Any

from store.corrections.correction import Correction
from store.corrections.masks import IdIndex, as_ids
from store.errors import InputError

INDUCTIVE, TRANSDUCTIVE = "inductive", "transductive"


def protocol_of(
    correction: Correction, query_ids: Any, queries: int, said: str | None = None
) -> str:
    """ "transductive" where the query bank holds one of the queries' ids, or where it is `said` so.

    Raises InputError where "inductive" is said of queries that the bank holds.
    """
    if said not in (None, INDUCTIVE, TRANSDUCTIVE):
        raise InputError(f"protocol must be 'inductive' or 'transductive', not {said!r}")
    shared = 0
    if query_ids is not None:
        ids = as_ids(query_ids, queries, "query_ids")
        shared = len(set(IdIndex(correction.query_bank_ids).pairs(ids)[0].tolist()))
    if shared and said == INDUCTIVE:
        raise InputError(
            f"this is no inductive evaluation: {shared} of {queries} queries are in the query bank"
            " that the correction was fitted on; take them out of the bank, or say"
            " protocol='transductive'"
        )
    return said or (TRANSDUCTIVE if shared else INDUCTIVE)
