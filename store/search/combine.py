"""Scores of a mixed query that are no sum of cosines: the Gramian volume, the multilinear product.

For unit vectors q_1 .. q_m of the inputs and g of an item:

- "volume" (GRAM, Cicchetti et al. 2025, ICLR): the volume of the parallelotope of all vectors is
  the smaller, the better they agree. Its square is det(Q Q^T) (1 - c^T (Q Q^T)^-1 c) with the
  cosines c_j = q_j . g. The score is 1 - volume. For orthogonal inputs it is high where an item
  lies in their span, whichever input it is near to; signs do not count.
- "product" (Symile, Saporta et al. 2024, NeurIPS): the multilinear inner product
  sum_d q_1d .. q_md g_d, scaled by the length of the product of the inputs. It is a dot product,
  and so ranks the whole gallery. Spaces that were not trained for it have no reason to order by it.

The volume takes corrected scores in the place of the cosines, with biases less their mean, of the
best candidates by the sum. Negative ones count as 0: the volume does not see signs, and a large
bias is no agreement. The product is raw: no bank knows products. Weights do not count.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from store.arrow import as_matrix
from store.errors import InputError
from store.search.column_plan import WeightedInput, plan_columns
from store.search.column_query import ColumnQuery
from store.search.corrected_search import RankedRows, rank_rows, search_corrected
from store.search.open_gallery import OpenGallery
from store.search.rescoring import candidate_count
from store.search.vector_layout import query_vector, unfold
from store.tables.direction import Direction


def search_combined(
    gallery: OpenGallery,
    inputs: Sequence[WeightedInput],
    directions: Mapping[str, Direction],
    columns: list[str],
    where: str | None,
    limit: int,
    combination: str,
) -> RankedRows:
    """Search a gallery by the volume or the product of several inputs.

    Args:
        combination: "volume" or "product".
        gallery: see `store.search.corrected_search.search_corrected`, as for the others.

    Returns:
        The best rows. Those by the volume are complete only if every row was a candidate.

    Raises:
        InputError: an input is negative, or the product of the inputs is zero.
    """
    if any(i.weight < 0 for i in inputs):
        raise InputError(f'combine("{combination}") takes no negative inputs')
    vectors = np.stack([i.vector for i in inputs])
    if combination == "product":
        query = ColumnQuery("vector", query_vector(product_vector(vectors), {}, {}), 0.0)
        fetched = gallery.fetch(query, limit, columns, where)
        score = fetched.rows["_column_score"].to_numpy()
        best = rank_rows(fetched.rows, score, score, columns, limit)
        return RankedRows(best, fetched.exact, fetched.rows.num_rows, fetched.recall)
    each = plan_columns(gallery, [[WeightedInput(i.modality, i.vector, 1.0)] for i in inputs],
                        directions, where)  # fmt: skip
    searched = [query.column for plan in each for query in plan.queries]
    read = list(dict.fromkeys([*columns, "vector", *searched]))
    count = candidate_count(limit)
    found_rows = search_corrected(gallery, inputs, directions, read, where, count)
    rows = found_rows.rows.drop_columns(["_score", "_raw_score", "_bias"])
    corrected = []
    for plan in each:
        centre = sum(directions[i.modality].centre for i in plan.corrected)
        score = plan.scores(rows) + np.float32(centre)
        corrected.append(np.maximum(score, 0) if plan.corrected else score)
    raw = vectors @ unfold(as_matrix(rows["vector"]), vectors.shape[1]).T
    score = volume_scores(vectors, np.stack(corrected))
    best = rank_rows(rows, score, volume_scores(vectors, raw), columns, limit)
    is_complete = found_rows.complete and rows.num_rows < count
    return RankedRows(best, is_complete, rows.num_rows, found_rows.recall)


def volume_scores(vectors: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """One less the volumes of the inputs and each item.

    Args:
        vectors: (m, d) unit rows, the inputs.
        scores: (m, n) cosines of inputs and items, or corrected scores.

    Returns:
        (n,) float32. Inputs in one plane have the volume 0 with every item, and the score 1.
        Corrected scores can be no cosines of any vectors: the square of the volume is then
        negative, and the root of its amount is added to 1.
    """
    gram = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    # The adjugate instead of the inverse: it exists where inputs are in one plane.
    own = np.linalg.det(gram)
    values, basis = np.linalg.eigh(gram)
    others = np.array([np.prod(np.delete(values, n)) for n in range(len(values))])
    along = basis.T @ scores.astype(np.float64)
    square = own - others @ along**2
    return (1 - np.sign(square) * np.sqrt(np.abs(square))).astype(np.float32)


def product_vector(vectors: np.ndarray) -> np.ndarray:
    """The unit vector (d,) whose dot product with an item ranks by the multilinear product.

    Raises:
        InputError: the inputs have no product: each dimension is zero in one of them.
    """
    product = np.prod(vectors.astype(np.float64), axis=0)
    length = np.linalg.norm(product)
    if not length:
        raise InputError('combine("product"): the product of the inputs is zero')
    return (product / length).astype(np.float32)
