"""Bridges: maps from the vectors of a new encoder into the space of an older one.

After Jang and Lim 2024, "Towards Cross-modal Backward-compatible Representation Learning for
Vision-Language Models" (XBT): the stored vectors are kept, and only queries are encoded by the new
encoder and mapped. XBT trains the map on texts alone, and then on pairs; images are mapped like
texts, because the new encoder has brought both into one space. Here the maps have closed forms.
All go through the origin, so that a map of texts can be applied to images, which lie around
another mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from embedders.projection import Projection, gelu
from store.errors import InputError

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
CURVED_PENALTIES = (1e-3, 1e-2, 1e-1)
CURVED_UNITS = 1024
CURVED_SCALE = 2.0  # the standard deviation of what enters a unit
LEAST_ROWS = 50
_NO_VARIANCE = 1e-6  # singular values below this share of the largest one are noise


@dataclass(frozen=True)
class Rows:
    """The same parts in two spaces.

    Attributes:
        new: (n, d_new) float32 unit rows of the new encoder.
        old: (n, d_old) float32 unit rows that are stored, or that queries should be near to.
    """

    new: np.ndarray
    old: np.ndarray

    def __post_init__(self) -> None:
        shapes = np.shape(self.new), np.shape(self.old)
        if (
            not all(len(shape) == 2 and shape[1] for shape in shapes)
            or len({s[0] for s in shapes}) > 1
        ):
            raise InputError(
                f"a bridge is learned from rows (n, d_new) and (n, d_old), not {shapes[0]} and"
                f" {shapes[1]}"
            )
        if not (np.isfinite(self.new).all() and np.isfinite(self.old).all()):
            raise InputError("a bridge is learned from finite rows; leave out rows with NaN")

    def __len__(self) -> int:
        return len(self.new)


@dataclass(frozen=True)
class Products:
    """What all maps need of the rows that they are learned from.

    Attributes:
        gram: (d_new, d_new) float64, the sum over groups of X'X / rows.
        cross: (d_new, d_old) float64, the sum over groups of X'Y / rows.
    """

    gram: np.ndarray
    cross: np.ndarray

    @classmethod
    def of(cls, groups: list[Rows]) -> "Products":
        """Those of groups of rows, such as texts and images. A large group counts as a small one.

        Raises:
            InputError: there are fewer than `LEAST_ROWS` rows, or the widths of groups differ.
        """
        count = sum(map(len, groups))
        if count < LEAST_ROWS or not all(map(len, groups)):
            raise InputError(
                f"{count} parts that both encoders encode are too few to learn a bridge from: at"
                f" least {LEAST_ROWS} are needed, and as many as a vector has numbers are better"
            )
        if len({(g.new.shape[1], g.old.shape[1]) for g in groups}) > 1:
            raise InputError("the rows of a bridge differ in width between modalities")
        new = [np.asarray(rows.new, np.float64) for rows in groups]
        grams = [x.T @ x / len(x) for x in new]
        crosses = [x.T @ rows.old / len(x) for x, rows in zip(new, groups, strict=True)]
        return cls(np.sum(grams, axis=0), np.sum(crosses, axis=0))


def orthogonal_map(products: Products) -> np.ndarray:
    """The orthogonal map of the new rows onto the old ones (Schoenemann 1966).

    W = U V' of the singular value decomposition U S V' of the cross product. It maximises the mean
    cosine of orthogonal maps. If the widths differ, or the rows do not span the space, it is
    orthogonal on the directions that they span.

    Returns:
        float32 (d_new, d_old).
    """
    u, s, vh = np.linalg.svd(products.cross, full_matrices=False)
    spanned = s > _NO_VARIANCE * s[0]
    return (u[:, spanned] @ vh[spanned]).astype(np.float32)


def ridge_map(products: Products, penalty: float) -> np.ndarray:
    """The ridge regression from the new rows to the old ones, without an intercept.

    W = (G + penalty * mean(diag G) * I)^-1 C, with the gram matrix G and the cross product C.

    Returns:
        float32 (d_new, d_old).
    """
    shrunk = products.gram.copy()
    shrunk[np.diag_indices_from(shrunk)] += penalty * np.trace(shrunk) / len(shrunk)
    return np.linalg.solve(shrunk, products.cross).astype(np.float32)


def bridge_maps(groups: list[Rows]) -> Iterator[tuple[str, Projection]]:
    """All maps of some rows: their names, such as "orthogonal" or "ridge 0.1", and projections.

    Raises:
        InputError: see `Products.of`.
    """
    products = Products.of(groups)
    yield "orthogonal", _projection(orthogonal_map(products))
    for penalty in PENALTIES:
        yield f"ridge {penalty:g}", _projection(ridge_map(products, penalty))


def curved_maps(groups: list[Rows]) -> Iterator[tuple[str, Projection]]:
    """Maps with one layer of random units beside the linear map, also in closed form.

    Ridge regression from [x, s gelu(xH + h)] to the old rows, with H and h drawn once and not
    learned, and s so that both halves vary alike (random features: Rahimi and Recht 2007).

    Raises:
        InputError: see `Products.of`.
    """
    Products.of(groups)  # checks the rows
    rng, dim = np.random.default_rng(0), groups[0].new.shape[1]
    hidden = CURVED_SCALE * rng.normal(size=(dim, CURVED_UNITS)).astype(np.float32)
    shift = CURVED_SCALE * rng.normal(size=CURVED_UNITS).astype(np.float32)
    share = np.float32(1 / (CURVED_SCALE * np.sqrt(CURVED_UNITS)))

    def features(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows, share * gelu(rows @ hidden + shift)], axis=1)

    products = Products.of([Rows(features(group.new), group.old) for group in groups])
    for penalty in CURVED_PENALTIES:
        weight = ridge_map(products, penalty)
        tensors = {
            **_projection(weight[:dim]).tensors,
            "hidden_weight": hidden,
            "hidden_bias": shift,
            "out_weight": share * weight[dim:],
        }
        yield f"random units, ridge {penalty:g}", Projection(tensors)


def mean_cosines(bridge: Projection, rows: Rows) -> float:
    """The mean cosine of mapped new rows with the old ones."""
    return float(np.einsum("nd,nd->n", bridge(rows.new), rows.old).mean())


def _projection(weight: np.ndarray) -> Projection:
    return Projection({"weight": weight, "bias": np.zeros(weight.shape[1], np.float32)})
