"""Decontamination: find samples that are near to those of an evaluation set.

Images and recordings are compared as near-duplicates are. Texts are compared by word n-grams, as
in GPT-3's appendix C (Brown et al. 2020): a text is contaminated if it shares 13 words in a row
with an evaluation text, or all of its words if that has 8 to 12. Shorter evaluation texts are
ignored, since they match by chance.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.duplicates import audio, incremental
from pipelines.duplicates.evaluation_sets import QUALITY, EvaluationSet, read_evaluation_set
from pipelines.duplicates.images import copies
from pipelines.duplicates.near import Images, Texts
from pipelines.duplicates.texts.shingles import normalise_texts
from pipelines.signals.scorers.image_copies import LOOK
from pipelines.sources.evaluation_files import evaluation_listing_hash
from store import identity
from store.config.duplicates import Evaluation
from store.tables import schema
from store.tables.staging import Entry
from store.workspace import Workspace

VERSION = 2  # of the searches: raise it if the same samples would give other matches
_TEXTS = 8192


def find_contaminated(
    workspace: Workspace, samples: pa.Table, evaluation: Evaluation
) -> tuple[dict[int, tuple[str, float]], list[Entry]]:
    """Find the samples that are near to an evaluation set. Only new samples are compared.

    Args:
        workspace: the corpus.
        samples: as `sample_facts` returns them.
        evaluation: an entry of the section `decontaminate` of corpus.yaml.

    Returns:
        By row of `samples`: the key of the evaluation's sample, and the similarity. And entries
        for the ledger, of the evaluation's records that could not be read.

    Raises:
        SourceError: there is nothing at the evaluation's path.
    """
    evaluation_set = read_evaluation_set(workspace, evaluation)
    settings, name = workspace.config.duplicates, f"{schema.EVALUATION_PREFIX}{evaluation.name}"
    matches: dict[int, tuple[str, float]] = {}
    version = (
        evaluation_listing_hash(workspace, evaluation),
        settings.image,
        settings.audio,
        VERSION,
    )

    def compare(part: str, names: pa.Array, rows: np.ndarray, find: incremental.Find) -> None:
        """Add matches of the samples at `rows`, whose nodes are `names`."""
        key = identity.run_key(name, part, version)
        kind, nodes = f"{name}:{part}", pc.unique(names)
        pairs = incremental.near_pairs(workspace.tables, kind, key, nodes, find, among=False)
        columns = (pairs[c].to_pylist() for c in ("b", "similarity"))
        near = dict(zip(pairs["a"].to_pylist(), zip(*columns, strict=True), strict=True))
        for row, node in zip(rows.tolist(), names.to_pylist(), strict=True):
            if node in near:
                matches.setdefault(row, near[node])

    if settings.image is not None:
        radius = settings.image
        rows = _rows(pc.greater_equal(samples["image_pdq_quality"], QUALITY))
        ids = samples["image_id"].take(pa.array(rows)).combine_chunks()

        def find_images(nodes: pa.Array, first: int) -> tuple[pa.Array, pa.Array, np.ndarray]:
            new = nodes[first:]
            new_rows = pa.array(rows).take(pc.index_in(new, value_set=ids))
            images = Images(workspace.tables, samples, new_rows)
            return _match_images(new, images, evaluation_set, radius)

        compare("image", ids, rows, find_images)
    if settings.audio is not None:
        threshold = settings.audio
        rows = _rows(pc.is_valid(samples["audio_fingerprint"]))
        ids = samples["audio_id"].take(pa.array(rows)).combine_chunks()
        fingerprints = samples["audio_fingerprint"].take(pa.array(rows))

        def find_audio(nodes: pa.Array, first: int) -> tuple[pa.Array, pa.Array, np.ndarray]:
            new = nodes[first:]
            own = fingerprints.take(pc.index_in(new, value_set=ids)).to_pylist()
            keys = [key for key, _ in evaluation_set.fingerprints]
            others = [fingerprint for _, fingerprint in evaluation_set.fingerprints]
            pairs = audio.pairs([*own, *others], threshold, len(own))
            return _best_matches(new, keys, pairs.a, pairs.b, pairs.similarity)

        compare("audio", ids, rows, find_audio)
    rows = _rows(pc.is_valid(samples["text_id"]))
    ids = samples["text_id"].take(pa.array(rows)).combine_chunks()

    def find_texts(nodes: pa.Array, first: int) -> tuple[pa.Array, pa.Array, np.ndarray]:
        new = nodes[first:]
        new_rows = pa.array(rows).take(pc.index_in(new, value_set=ids))
        texts = Texts(workspace.tables, samples, new_rows)
        keys = dict(_match_texts(texts, len(new), evaluation_set.ngrams))
        a, b = new.take(pa.array(list(keys), pa.int64())), pa.array(keys.values(), pa.string())
        return a, b, np.ones(len(keys), np.float32)

    compare("text", ids, rows, find_texts)
    return matches, evaluation_set.entries


def _match_images(
    new: pa.Array, own: Images, evaluation_set: EvaluationSet, radius: int
) -> tuple[pa.Array, pa.Array, np.ndarray]:
    """Match new nodes, whose images are `own`, with the images of an evaluation set."""
    keys, hashes, thumbnails = (
        zip(*evaluation_set.images, strict=True) if evaluation_set.images else ((), (), ())
    )
    other_hashes = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, *own.hashes.shape[1:])
    others = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, LOOK, LOOK, 3)

    def read_thumbnails(indices: np.ndarray) -> np.ndarray:
        is_own = indices < len(new)
        out = np.empty((len(indices), *others.shape[1:]), np.uint8)
        out[is_own] = own.thumbnails(indices[is_own])
        out[~is_own] = others[indices[~is_own] - len(new)]
        return out

    all_hashes = np.concatenate([own.hashes, other_hashes])
    pairs = copies.pairs(all_hashes, read_thumbnails, radius, len(new))
    return _best_matches(new, keys, pairs.a, pairs.b, pairs.similarity)


def _best_matches(
    new: pa.Array,
    keys: Sequence[str],
    a: np.ndarray,
    b: np.ndarray,
    similarity: np.ndarray,
) -> tuple[pa.Array, pa.Array, np.ndarray]:
    """The most similar evaluation sample of each new node.

    Args:
        new: the new nodes, numbered from 0.
        keys: the keys of the evaluation's samples, which are numbered after the nodes.
        a, b, similarity: (k,) pairs, a < b.

    Returns:
        Nodes, keys and similarities of the matches.
    """
    across = np.flatnonzero((a < len(new)) & (b >= len(new)))
    best = across[np.lexsort((b[across], -similarity[across], a[across]))]
    best = best[np.unique(a[best], return_index=True)[1]]
    matched_keys = pa.array([keys[i - len(new)] for i in b[best]], pa.string())
    return new.take(pa.array(a[best])), matched_keys, similarity[best]


def _match_texts(texts: Texts, count: int, ngrams: dict[str, str]) -> Iterator[tuple[int, str]]:
    """The indices of texts that contain an n-gram, with the key of the first one in the text."""
    sizes = sorted({ngram.count(" ") + 1 for ngram in ngrams}, reverse=True)
    for start in range(0, count if ngrams else 0, _TEXTS):
        indices = np.arange(start, min(start + _TEXTS, count))
        for index, text in zip(indices.tolist(), normalise_texts(texts(indices)), strict=True):
            words = text.split()
            candidates = (
                " ".join(words[i : i + n]) for n in sizes for i in range(len(words) - n + 1)
            )
            key = next((ngrams[ngram] for ngram in candidates if ngram in ngrams), None)
            if key is not None:
                yield index, key


def _rows(condition: pa.ChunkedArray) -> np.ndarray:
    return np.flatnonzero(pc.fill_null(condition, False).to_numpy())
