"""Propose captions for images whose own caption does not belong to them.

Candidates are the captions of other mismatched pairs, which have no image of their own. A caption
is proposed if image and caption are each other's nearest after correction for hubs. The margin says
by how much: the smaller of the leads over the second-best caption and over the second-best image.
PC2 (Duan et al. 2024) takes the captions of similar images instead, ALBEF (Li et al. 2021) and
ShareGPT4V (Chen et al. 2023) those that a model writes.

Margins become probabilities on pairs that match: their captions are mixed, half of them are hidden,
and it is counted how often the proposal is right at which margin.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.pairs.signals import top_mean

LEAST_PAIRS = 150  # matching pairs for a calibration
_BLOCK = 1024


@dataclass(frozen=True)
class Calibration:
    """How often proposals are right.

    Attributes:
        margins: (k,) ascending.
        precision: (k,) the probability that a proposal with this margin is right, ascending.
    """

    margins: np.ndarray
    precision: np.ndarray

    def __call__(self, margins: np.ndarray) -> np.ndarray:
        """The probabilities of proposals, float32 (n,); 0 for a margin of 0 or less."""
        probability = np.interp(margins, self.margins, self.precision)
        return np.where(margins > 0, probability, 0).astype(np.float32)


@dataclass(frozen=True)
class CaptionMatcher:
    """Matches images with captions, corrected for hubs.

    Attributes:
        images: unit rows (b, d) of random pairs, against which captions are corrected.
        texts: unit rows (b, d) of random pairs, against which images are corrected.
    """

    images: np.ndarray
    texts: np.ndarray

    def best(
        self, images: np.ndarray, texts: np.ndarray, own: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best caption of each image, and its margin.

        Args:
            images: unit rows (n, d).
            texts: unit rows (m, d), m at least 2.
            own: (n,) the row of each image's present caption in `texts`, which is not proposed; -1
                if it is not there.

        Returns:
            (n,) rows of `texts`, and (n,) margins, negative where another image is nearer.
        """
        scores = images @ texts.T
        has_own = np.flatnonzero(own >= 0)
        scores[has_own, own[has_own]] = -np.inf
        # The hubness of captions decides between captions, that of images between images.
        of_texts = _hubness(texts, self.images)
        best, text_lead = _lead(scores - of_texts)
        of_images = scores - _hubness(images, self.texts)[:, None]
        winner, image_lead = _lead(of_images.T)
        rows = np.arange(len(images))
        second = of_images[rows, best] - of_images[winner[best], best]
        margin = np.where(winner[best] == rows, image_lead[best], second)
        return best, np.minimum(text_lead, margin)

    def calibrate(self, images: np.ndarray, texts: np.ndarray) -> Calibration | None:
        """Count how often proposals are right on pairs that match.

        Two thirds of the images look for a caption. Those of the first third are among the
        candidates, those of the second third are not, so every proposal for these is wrong.

        Args:
            images, texts: unit rows (n, d) of matching pairs, in random order.

        Returns:
            None if there are fewer than `LEAST_PAIRS`.
        """
        third = len(images) // 3
        if len(images) < LEAST_PAIRS:
            return None
        candidates = np.concatenate([texts[:third], texts[2 * third :]])
        nobody = np.full(2 * third, -1)
        best, margin = self.best(images[: 2 * third], candidates, nobody)
        is_right = best == np.arange(2 * third)
        is_proposed = np.flatnonzero(margin > 0)
        order = is_proposed[np.argsort(margin[is_proposed])]
        # One more wrong proposal at the largest margin keeps a few lucky ones below 1.
        right = np.append(is_right[order].astype(float), 0.0)
        margins = np.append(margin[order], margin[order].max(initial=0))
        # Imported here: it takes most of a second, and few corpora need it.
        from scipy.optimize import isotonic_regression

        return Calibration(margins, isotonic_regression(right).x)


def _hubness(rows: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Mean similarity of each row to its nearest rows of the bank, (n,)."""
    blocks = range(0, len(rows), _BLOCK)
    return np.concatenate([top_mean(rows[s : s + _BLOCK] @ bank.T) for s in blocks])


def _lead(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best column of each row, and its lead over the second best; 0 if there is none."""
    best = scores.argmax(axis=1)
    if scores.shape[1] < 2:
        return best, np.zeros(len(scores), scores.dtype)
    second, first = np.partition(scores, -2, axis=1)[:, -2:].T
    with np.errstate(invalid="ignore"):  # -inf - -inf
        lead = first - second
    return best, np.where(np.isfinite(lead), lead, 0)
