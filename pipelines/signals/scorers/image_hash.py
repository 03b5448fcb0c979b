"""PDQ, a perceptual hash of 256 bits (Meta 2019, "The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm"), computed by Meta's own code in the package `pdqhash`.

Copies that were rescaled, recompressed or brightened differ in few bits, strangers in about 128.
"""

import numpy as np

from pipelines.signals.scorer import Picture, PictureScorer, Values


def score(picture: Picture) -> Values:
    """`image_pdq`, 32 bytes, and `image_pdq_quality`, 0 (featureless) to 100.

    PDQ compares pictures of poor quality (below 50, says the paper) badly: do not trust them.
    """
    import pdqhash

    bits, quality = pdqhash.compute(np.asarray(picture.rgb))
    return {"image_pdq": np.packbits(bits.astype(bool)).tobytes(), "image_pdq_quality": quality}


HASH = PictureScorer("image_hash", ("image_pdq", "image_pdq_quality"), ("image_id", "image"), score)
