"""The scikit-learn estimator: scikit-learn's own checks, and agreement with `fit` and `rank`."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from isotrope import CorrectedNeighbors
from store.corrections import fit
from tests.helpers.fits import paired_arrays, unit_rows


@parametrize_with_checks(
    [CorrectedNeighbors(n_neighbors=1), CorrectedNeighbors(n_neighbors=1, method="sinkhorn")],
    expected_failed_checks=lambda _: {
        "check_estimators_dtypes": "its integers have a row of zeros, which has no direction"
    },
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


@pytest.mark.parametrize("method", ["none", "nnn", "centered+sinkhorn", "canonical+nnn"])
def test_neighbors_are_those_of_the_correction(method):
    data = paired_arrays()
    gallery = data.pop("gallery")
    queries = unit_rows(np.random.default_rng(1), 9)
    model = clone(CorrectedNeighbors(4, method=method)).fit(gallery, **data)
    distances, rows = model.kneighbors(queries)
    expected, scores = fit(method, gallery=gallery, **data).rank(queries, 4)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(distances, 1 - scores)
    np.testing.assert_array_equal(model.kneighbors(queries, 2, return_distance=False), rows[:, :2])


def test_items_are_their_own_bank_by_default():
    gallery = paired_arrays()["gallery"]
    ids = np.arange(len(gallery))
    model = CorrectedNeighbors(3, params={"k": 4}).fit(gallery)
    alone = fit(
        "nnn", gallery=gallery, query_bank=gallery, gallery_bank=gallery, gallery_ids=ids,
        query_bank_ids=ids, gallery_bank_ids=ids, k=4,
    )  # fmt: skip
    np.testing.assert_array_equal(model.correction_.bias, alone.bias)
    distances, rows = model.kneighbors()
    assert distances.shape == rows.shape == (len(gallery), 3)
    assert not (rows == ids[:, None]).any()
    assert (np.diff(distances, axis=1) >= 0).all()
    with pytest.raises(ValueError, match="from 1 to 39"):
        model.kneighbors(n_neighbors=40)
