"""PDQ, a perceptual hash of 256 bits, computed by Meta's own code in the package `pdqhash`.

Meta 2019, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm". Copies that
were rescaled, recompressed or brightened differ in few bits, different images in about 128.
"""

import numpy as np

from pipelines.signals.scorer import DecodedImage, ImageScorer, Values
from store.tables.signals import SCORERS


def score(image: DecodedImage) -> Values:
    """`image_pdq`: 32 bytes. `image_pdq_quality`: 0 (featureless) to 100.

    Hashes of low quality are not reliable; the paper draws the line at 50.
    """
    import pdqhash

    bits, quality = pdqhash.compute(np.asarray(image.rgb))
    return {"image_pdq": np.packbits(bits.astype(bool)).tobytes(), "image_pdq_quality": quality}


HASH = ImageScorer("image_hash", SCORERS["image_hash"].names, ("image_id", "image"), score)
