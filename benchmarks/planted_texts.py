"""Texts with planted copies, and templates that are none, for benchmarks and tests.

Half of the texts are plain: 12 to 44 words of CLIP's vocabulary, drawn by Zipf's law in its order,
which is that of frequency. A quarter are copies of them. A quarter are eight templates filled in
with other subjects, places and numbers, which are no copies of each other. Left out are subjects
that are another's with a word more: by our rules these are copies.
"""

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
from open_clip import IMAGENET_CLASSNAMES

TEMPLATES = (
    "high quality stock photo of a {subject} on a white background isolated royalty free download",
    "buy the new {subject} online at the best price with free shipping and easy returns",
    "portrait of a {subject} in the studio by an unknown photographer from the nineteen fifties",
    "item number {number} of the collection in very good condition with box and papers",
    "{subject} seen from above near {place} at sunset photographed by a tourist on holiday",
    "the museum of {place} shows a {subject} from the second half of the last century in its hall",
    "how to draw a {subject} step by step for beginners page {number} of our free drawing course",
    "weather in {place} on day {number} of the year cloudy with some rain in the late afternoon",
)
_LOOKS = (
    "broken tiny giant rusty shiny wooden ancient plastic painted dirty elegant sleepy angry "
    "colourful frozen knitted golden hungry lonely muddy noisy purple quiet round sunlit "
    "transparent ugly vintage wet young abandoned brass cardboard dusty enormous fluffy"
)
_PLACES = (
    "lisbon kyoto nairobi oslo lima havana dublin quebec manila tbilisi porto riga sofia tunis "
    "utrecht vienna warsaw yerevan zagreb accra bergen cusco dakar erfurt florence geneva"
)
ONE_EDIT = ("typo", "word more or less", "case and punctuation", "other order")


@dataclass(frozen=True)
class Planted:
    """Texts in no order; of copies (place: place of the original) those of one edit by its kind,
    and those of two."""

    texts: list[str]
    once: dict[str, dict[int, int]]
    twice: dict[int, int]

    def copies(self) -> dict[int, int]:
        """Those of one edit."""
        return {copy: original for kind in self.once.values() for copy, original in kind.items()}


def planted(count: int, seed: int = 0) -> Planted:
    """About `count` texts. One copy in nine has two edits."""
    rng = np.random.default_rng(seed)
    draw = _Draw(rng)
    plain = [draw.text() for _ in range(count // 2)]
    edits = dict(zip(ONE_EDIT, (typo, draw.word_count, dressed, reordered), strict=True))
    once, twice = count * 2 // 9, count // 36
    copies = []
    for i in range(once):
        copies.append(edits[ONE_EDIT[i % 4]](plain[i], rng))
    for i in range(once, once + twice):
        one, other = rng.choice(4, 2)
        copies.append(edits[ONE_EDIT[one]](edits[ONE_EDIT[other]](plain[i], rng), rng))
    texts = [*plain, *copies, *filled(count // 4, rng)]
    shuffled = rng.permutation(len(texts))
    place = np.argsort(shuffled)
    pairs = [(int(place[len(plain) + i]), int(place[i])) for i in range(len(copies))]
    kinds = {kind: dict(pairs[i:once:4]) for i, kind in enumerate(ONE_EDIT)}
    return Planted([texts[i] for i in shuffled], kinds, dict(pairs[once:]))


def filled(count: int, rng: np.random.Generator) -> list[str]:
    """So many templates, filled in, each text once."""
    names = list(
        dict.fromkeys(" ".join(re.findall("[a-z]+", n.lower())) for n in IMAGENET_CLASSNAMES)
    )
    sets = [set(n.split()) for n in names]
    inside = [any(s <= o for o in sets if o is not s) for s in sets]
    names = [n for n, part in zip(names, inside, strict=True) if not part]
    said = {w for n in names for w in n.split()}
    looks = [w for w in _LOOKS.split() if w not in said]
    places = _PLACES.split()
    out: dict[str, None] = {}
    while len(out) < count:
        out[
            TEMPLATES[len(out) % len(TEMPLATES)].format(
                subject=f"{looks[rng.integers(len(looks))]} {names[rng.integers(len(names))]}",
                place=places[rng.integers(len(places))],
                number=rng.integers(1, 100_000),
            )
        ] = None
    return list(out)


class _Draw:
    """Words by Zipf's law."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        path = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
        merges = gzip.decompress(path.read_bytes()).decode().split("\n")
        ends = [m.replace(" ", "")[:-4] for m in merges if m.endswith("</w>")]
        self.words = [w for w in dict.fromkeys(ends) if re.fullmatch("[a-z]{2,}", w)]
        self.cumulated = np.cumsum(1 / np.arange(10, len(self.words) + 10))
        self.cumulated /= self.cumulated[-1]

    def text(self) -> str:
        drawn = np.searchsorted(self.cumulated, self.rng.random(self.rng.integers(12, 45)))
        return " ".join(self.words[i] for i in drawn.tolist())

    def word_count(self, text: str, rng: np.random.Generator) -> str:
        """A word more or less."""
        split = text.split()
        at = int(rng.integers(len(split)))
        if rng.random() < 0.5:
            del split[at]
        else:
            split.insert(at, self.words[int(np.searchsorted(self.cumulated, rng.random()))])
        return " ".join(split)


def typo(text: str, rng: np.random.Generator) -> str:
    """A letter less, more, another, or two swapped, anywhere."""
    at = int(rng.integers(1, len(text) - 2))
    letter = "abcdefghijklmnopqrstuvwxyz"[rng.integers(26)]
    ways = (
        text[:at] + text[at + 1 :],
        text[:at] + letter + text[at:],
        text[:at] + letter + text[at + 1 :],
        text[:at] + text[at + 1] + text[at] + text[at + 2 :],
    )
    return ways[rng.integers(len(ways))]


def dressed(text: str, rng: np.random.Generator) -> str:
    """In other case and punctuation."""
    return ", ".join(part.strip().capitalize() for part in text.split(" ", 2)) + "!"


def reordered(text: str, rng: np.random.Generator) -> str:
    split = text.split()
    at = int(rng.integers(1, len(split)))
    return " ".join(split[at:] + split[:at])
