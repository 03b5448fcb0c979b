"""Balance samples over concepts, such as the nouns of a language, that captions name.

MetaCLIP (Xu et al. 2023, "Demystifying CLIP Data"): a caption matches a concept if it contains its
name as whole words. Of a concept with more than t samples, each is drawn with the probability
t / count, and a sample is kept if one of its concepts draws it. So concepts with at most t samples
keep all of them, and frequent ones keep about t or more.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.config.rules import IMAGENET, Concepts
from store.errors import InputError
from store.workspace import Workspace

Matching: TypeAlias = tuple[Any, ...]  # `Concepts.matching`
_MOST_WORDS = 5  # of a name; longer names are left out
_MOST_BYTES = 64 << 20  # of a file of names
_SPACE = pa.scalar(" ", pa.large_string())
_NOT_WORDS = r"[^\p{L}\p{N}]+"


def read_concepts(workspace: Workspace, concepts: Concepts) -> pa.Array:
    """The names of a list, normalised as captions are, each once, sorted.

    A file has one name a line. Of WordNet's `index.noun`, lines that begin with two spaces are its
    licence, and a line begins with the name, whose words are joined by `_`.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is too large, is not UTF-8, or has no name.
    """
    if concepts.names == IMAGENET:
        return _normalised_names(_imagenet_names())
    path = concepts_file(workspace, concepts)
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path} has more than {_MOST_BYTES >> 20} MB: not a list of names")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a list of names in UTF-8: {error}") from None
    if path.name == "index.noun":
        lines = [line.split(" ", 1)[0].replace("_", " ") for line in lines if line[:2] != "  "]
    names = _normalised_names(lines)
    if not len(names):
        raise InputError(f"{path} has no name: expected one a line")
    return names


def concepts_file(workspace: Workspace, concepts: Concepts) -> Path:
    """The file of names that a policy names.

    Raises:
        NotFoundError: there is no such file.
    """
    return workspace.file("policy.concepts.names", concepts.names)


@dataclass(frozen=True)
class Matches:
    """Which samples have which concepts.

    Attributes:
        names: of the concepts.
        samples: (m,) the row of the sample of each match, ascending.
        concepts: (m,) its concept.
    """

    names: pa.Array
    samples: np.ndarray
    concepts: np.ndarray

    def counts(self, kept: np.ndarray) -> np.ndarray:
        """The number of kept samples (n,) bool of each concept, (k,) int64."""
        return np.bincount(self.concepts[kept[self.samples]], minlength=len(self.names))


def union(first: Matches, second: Matches) -> Matches:
    """The matches of either, of the same names."""
    count = max(len(first.names), 1)
    both = (each.samples * count + each.concepts for each in (first, second))
    return Matches(first.names, *np.divmod(np.union1d(*both), count))


def match_captions(captions: pa.ChunkedArray, names: pa.Array) -> Matches:
    """Find the concepts in captions. A caption matches a concept once, however often it has it.

    Args:
        captions: (n,) strings; null has none.
        names: as `read_concepts` gives them.
    """
    longest = pc.max(pc.count_substring(names, " ")).as_py() + 1
    pairs, start = [np.empty(0, np.int64)], 0
    for chunk in captions.chunks:
        words = pc.split_pattern(pc.fill_null(_normalised(chunk), ""), " ")
        word, row = words.flatten(), pc.list_parent_indices(words).to_numpy()
        phrase = word
        for extra in range(longest):
            if extra:
                phrase = pc.binary_join_element_wise(phrase[:-1], word[extra:], _SPACE)
            rows = row[: len(phrase)]
            code = pc.fill_null(pc.index_in(phrase, value_set=names), -1).to_numpy()
            inside = (code >= 0) & (rows == row[extra : extra + len(rows)])
            pairs.append((rows[inside] + start) * len(names) + code[inside])
            if len(phrase) < 2:
                break
        start += len(chunk)
    samples, concepts = np.divmod(np.unique(np.concatenate(pairs)), len(names))
    return Matches(names, samples, concepts)


def threshold(concepts: Concepts, counts: np.ndarray) -> int:
    """The number of samples up to which a concept is not cut.

    It is `most`, or the smallest number for which the concepts with fewer samples, the tail, have
    the share `tail` of all matches.
    """
    if concepts.most is not None:
        return concepts.most
    ordered = np.sort(counts[counts > 0])
    if not len(ordered):
        return 1
    share = np.cumsum(ordered) / ordered.sum()
    first_of_head = int(np.searchsorted(share, concepts.tail or 0.0))
    return int(ordered[min(first_of_head, len(ordered) - 1)])


def probabilities(matches: Matches, counts: np.ndarray, most: int, samples: int) -> np.ndarray:
    """The probability with which each sample is kept, (samples,); NaN without a concept.

    Args:
        matches: of all samples.
        counts: of samples by concept (`Matches.counts`).
        most: the threshold.
        samples: their number.
    """
    with np.errstate(divide="ignore"):
        lost = np.log1p(-np.minimum(1, most / np.maximum(counts, 1)))  # -inf: surely kept
    total = np.bincount(matches.samples, lost[matches.concepts], minlength=samples)
    has_concept = np.bincount(matches.samples, minlength=samples) > 0
    return np.where(has_concept, -np.expm1(total), np.nan)


def rarest(matches: Matches, counts: np.ndarray, rows: np.ndarray) -> pa.Array:
    """The rarest concept of samples that have one, as `name (count)`, (rows,)."""
    order = np.lexsort((counts[matches.concepts], matches.samples))
    first = np.searchsorted(matches.samples, rows)  # the order keeps samples ascending
    concept = matches.concepts[order][np.minimum(first, max(len(order) - 1, 0))]
    numbers = pa.array(counts[concept]).cast(pa.string())
    names = matches.names.take(pa.array(concept)).cast(pa.string())
    return pc.binary_join_element_wise(names, numbers, ": ")


def _normalised(texts: pa.Array) -> pa.Array:
    """Lower-case words, separated by single spaces."""
    lower = pc.utf8_lower(texts.cast(pa.large_string()))
    return pc.utf8_trim(pc.replace_substring_regex(lower, _NOT_WORDS, " "), " ")


def _normalised_names(names: list[str]) -> pa.Array:
    normalised = _normalised(pa.array(names, pa.large_string())).unique()
    spaces = pc.count_substring(normalised, " ")
    usable = pc.and_(pc.less(spaces, _MOST_WORDS), pc.not_equal(normalised, ""))
    kept = normalised.filter(usable)
    return kept.take(pc.array_sort_indices(kept))


def _imagenet_names() -> list[str]:
    """The names of ImageNet's 1,000 classes, from open_clip's file, without importing torch."""
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise InputError("policy.concepts.names: imagenet needs the package open-clip-torch")
    path = Path(package.submodule_search_locations[0], "zero_shot_metadata.py")
    spec = importlib.util.spec_from_file_location("_imagenet_names", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.IMAGENET_CLASSNAMES)
