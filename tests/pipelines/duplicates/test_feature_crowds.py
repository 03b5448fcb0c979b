"""Keys of local features that too many images have: counts in blocks against plain ones."""

import numpy as np
import pytest

from pipelines.duplicates.images import feature_crowds
from pipelines.signals.scorers.image_local import FEATURES
from store.tables.signals import KEYPOINTS


@pytest.mark.parametrize("block", [3, 11, 100])
def test_crowded_keys_are_counted_in_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_crowds, "_CROWD", 20)
    monkeypatch.setattr(feature_crowds, "_BLOCK", block)
    rng = np.random.default_rng(0)
    records = np.zeros(60, FEATURES)
    records["count"] = rng.integers(0, 30, 60)
    records["keypoints"]["bits"][..., ::4] = rng.geometric(0.2, (60, KEYPOINTS, 8))
    crowds = feature_crowds.crowded_keys(records.__getitem__, len(records))
    for band, crowd in enumerate(crowds):
        keys = [
            set(feature_crowds.band_keys(feature_crowds.filled(r[None]), band)) for r in records
        ]
        count = {key: sum(key in of_image for of_image in keys) for key in set().union(*keys)}
        assert crowd.tolist() == sorted(key for key, images in count.items() if images > 20)
    assert min(map(len, crowds)) > 0
