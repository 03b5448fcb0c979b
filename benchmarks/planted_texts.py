"""Make texts with planted copies, and templates that are no copies, for benchmarks and tests.

Half of the texts are plain: 12 to 44 words of CLIP's vocabulary, drawn by Zipf's law in the order
of the vocabulary, which is that of frequency. A quarter of the texts are copies of plain texts. A
quarter are eight templates, filled in with different subjects, places and numbers, which are no
copies of each other. A subject whose words are part of another subject's is left out, because by
the rules of `pipelines.duplicates` the two texts would be copies.
"""

import gzip
import re
from dataclasses import dataclass
from itertools import cycle
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
_ADJECTIVES = (
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
    """Texts in random order, and the copies among them.

    Attributes:
        texts: all texts.
        once: the copies with one edit, by the kind of edit: index of the copy -> index of the
            original.
        twice: the copies with two edits: index of the copy -> index of the original.
    """

    texts: list[str]
    once: dict[str, dict[int, int]]
    twice: dict[int, int]

    def copies(self) -> dict[int, int]:
        """All copies with one edit."""
        return {copy: original for kind in self.once.values() for copy, original in kind.items()}


def planted(count: int, seed: int = 0) -> Planted:
    """About `count` texts with copies. One copy in nine has two edits."""
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
    index = np.argsort(shuffled)  # of each text after shuffling
    pairs = [(int(index[len(plain) + i]), int(index[i])) for i in range(len(copies))]
    kinds = {kind: dict(pairs[i:once:4]) for i, kind in enumerate(ONE_EDIT)}
    return Planted([texts[i] for i in shuffled], kinds, dict(pairs[once:]))


def filled(count: int, rng: np.random.Generator) -> list[str]:
    """`count` distinct texts made from the templates."""
    names = list(
        dict.fromkeys(" ".join(re.findall("[a-z]+", n.lower())) for n in IMAGENET_CLASSNAMES)
    )
    sets = [set(n.split()) for n in names]
    contained = [any(s <= o for o in sets if o is not s) for s in sets]
    names = [n for n, is_contained in zip(names, contained, strict=True) if not is_contained]
    used = {w for n in names for w in n.split()}
    adjectives = [w for w in _ADJECTIVES.split() if w not in used]
    places = _PLACES.split()
    out: dict[str, None] = {}
    for template in cycle(TEMPLATES):  # one whose texts are all taken is passed over
        if len(out) == count:
            break
        adjective = adjectives[rng.integers(len(adjectives))]
        text = template.format(
            subject=f"{adjective} {names[rng.integers(len(names))]}",
            place=places[rng.integers(len(places))],
            number=rng.integers(1, 100_000),
        )
        out[text] = None
    return list(out)


class _Draw:
    """Draws words of CLIP's vocabulary by Zipf's law."""

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
        """The text with one word removed or inserted."""
        split = text.split()
        at = int(rng.integers(len(split)))
        if rng.random() < 0.5:
            del split[at]
        else:
            split.insert(at, self.words[int(np.searchsorted(self.cumulated, rng.random()))])
        return " ".join(split)


def typo(text: str, rng: np.random.Generator) -> str:
    """The text with one letter removed, inserted or replaced, or two letters swapped."""
    at = int(rng.integers(1, len(text) - 2))
    letter = "abcdefghijklmnopqrstuvwxyz"[rng.integers(26)]
    variants = (
        text[:at] + text[at + 1 :],
        text[:at] + letter + text[at:],
        text[:at] + letter + text[at + 1 :],
        text[:at] + text[at + 1] + text[at] + text[at + 2 :],
    )
    return variants[rng.integers(len(variants))]


def dressed(text: str, rng: np.random.Generator) -> str:
    """The text with other case and punctuation."""
    return ", ".join(part.strip().capitalize() for part in text.split(" ", 2)) + "!"


def reordered(text: str, rng: np.random.Generator) -> str:
    """The text with its first words moved to the end."""
    split = text.split()
    at = int(rng.integers(1, len(split)))
    return " ".join(split[at:] + split[:at])
