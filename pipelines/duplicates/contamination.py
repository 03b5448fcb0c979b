"""Decontamination: find samples that are near to those of an evaluation set.

Images and recordings are compared as near-duplicates are. Texts are compared by word n-grams, as
in GPT-3's appendix C (Brown et al. 2020): a text is contaminated if it shares 13 words in a row
with an evaluation text, or all of its words if that has 8 to 12. Shorter evaluation texts are
ignored, since they match by chance.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.duplicates import audio, incremental
from pipelines.duplicates.contents import Images, Recordings, Texts, hashes_of_crops, in_order
from pipelines.duplicates.evaluation_sets import QUALITY, EvaluationSet, read_evaluation_set
from pipelines.duplicates.images import copies
from pipelines.duplicates.incremental import Nodes
from pipelines.duplicates.near import create_nodes
from pipelines.duplicates.pair_joins import Pairs, collect_pairs
from pipelines.duplicates.texts.shingles import normalise_texts
from pipelines.signals.scorers.image_copies import CROPS, LOOK
from pipelines.sources.evaluation_files import evaluation_listing_hash
from store import identity
from store.config.duplicates import Evaluation
from store.tables import schema
from store.tables.lance_tables import Tables, quote
from store.tables.staging import Entry
from store.workspace import Workspace

VERSION = 2  # of the searches: raise it if the same samples would give other matches
_TEXTS = 8192
_LOST = """
INSERT INTO lost
SELECT id, min(b), {kind}, arg_min(similarity, b)
FROM facts JOIN near ON a = {part}_id ANTI JOIN lost USING (id) WHERE {where} GROUP BY id
"""
_NODES = 65_536  # that are compared at once: 32 MB of hashes of images


def find_contaminated(
    workspace: Workspace,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    evaluation: Evaluation,
) -> list[Entry]:
    """Add the samples that are near to an evaluation set to the table `lost`.

    Only new samples are compared. A sample that the table has already is not added.

    Args:
        workspace: the corpus.
        connection: to a database with the tables `facts` (`sample_facts.add_facts`) and `lost`.
        folder: for scratch files.
        evaluation: an entry of the section `decontaminate` of corpus.yaml.

    Returns:
        Entries for the ledger, of the evaluation's records that could not be read.

    Raises:
        SourceError: there is nothing at the evaluation's path.
    """
    evaluation_set = read_evaluation_set(workspace, evaluation)
    settings, name = workspace.config.duplicates, f"{schema.EVALUATION_PREFIX}{evaluation.name}"
    tables = workspace.tables
    version = (
        evaluation_listing_hash(workspace, evaluation),
        settings.image,
        settings.audio,
        VERSION,
    )

    def compare(part: str, where: str, find: incremental.Find) -> None:
        """Add matches of the samples of a condition."""
        key = identity.run_key(name, part, version)
        create_nodes(connection, part, where)
        incremental.near_pairs(tables, connection, folder, f"{name}:{part}", key, find, among=False)
        connection.execute(_LOST.format(part=part, kind=quote(name), where=where))

    if (radius := settings.image) is not None:

        def find_images(nodes: Nodes) -> Iterator[pa.Table]:
            for first, rows in _blocks(nodes, "measured"):
                yield _match_images(tables, nodes, first, rows, evaluation_set, radius)

        compare("image", f"image_pdq_quality >= {QUALITY}", find_images)
    if (threshold := settings.audio) is not None:

        def find_audio(nodes: Nodes) -> Iterator[pa.Table]:
            for first, rows in _blocks(nodes, "measured"):
                own = Recordings(tables, rows)(np.arange(len(rows)))
                yield _match_audio(nodes, first, own, evaluation_set, threshold)

        compare("audio", "has_fingerprint", find_audio)

    def find_texts(nodes: Nodes) -> list[pa.Table]:
        texts = Texts(tables, nodes.rows("row", nodes.first))
        keys = dict(_match_texts(texts, nodes.count - nodes.first, evaluation_set.ngrams))
        numbers = nodes.first + np.array(list(keys), np.int64)
        return [_matches(numbers, list(keys.values()), np.ones(len(keys)))]

    compare("text", "text_id IS NOT NULL", find_texts)
    return evaluation_set.entries


def _blocks(nodes: Nodes, column: str) -> Iterator[tuple[int, np.ndarray]]:
    """The new nodes in blocks: the number of the first one, and a column of `ordered`."""
    rows = nodes.rows(column, nodes.first)
    for start in range(0, len(rows), _NODES):
        yield nodes.first + start, rows[start : start + _NODES]


def _match_images(
    tables: Tables,
    nodes: Nodes,
    first: int,
    rows: np.ndarray,
    evaluation_set: EvaluationSet,
    radius: int,
) -> pa.Table:
    """Match nodes from the number `first` on, by their (n,) row ids, with images of evaluation."""
    keys, hashes, thumbnails = (
        zip(*evaluation_set.images, strict=True) if evaluation_set.images else ((), (), ())
    )
    count, own = len(rows), Images(tables, rows)
    others = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, LOOK, LOOK, 3)
    all_hashes = np.empty((CROPS, count + len(others), 32), np.uint8)
    other_hashes = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, CROPS, 32)
    all_hashes[:, count:] = other_hashes.transpose(1, 0, 2)
    hashes_of_crops(tables, list(all_hashes), in_order(rows))

    def read_thumbnails(indices: np.ndarray) -> np.ndarray:
        is_own = indices < count
        out = np.empty((len(indices), *others.shape[1:]), np.uint8)
        out[is_own] = own.thumbnails(indices[is_own])
        out[~is_own] = others[indices[~is_own] - count]
        return out

    blocks = copies.near_blocks(nodes.connection, list(all_hashes), read_thumbnails, radius, count)
    return _best_matches(first, count, keys, collect_pairs(blocks, count + len(others)))


def _match_audio(
    nodes: Nodes, first: int, own: list[bytes], evaluation_set: EvaluationSet, threshold: float
) -> pa.Table:
    """As `_match_images`, with fingerprints of recordings."""
    keys = [key for key, _ in evaluation_set.fingerprints]
    both = [*own, *(fingerprint for _, fingerprint in evaluation_set.fingerprints)]
    blocks = audio.near_blocks(
        lambda indices: [both[i] for i in indices], len(both), threshold, nodes.folder, len(own)
    )
    return _best_matches(first, len(own), keys, collect_pairs(blocks, len(both)))


def _best_matches(first: int, count: int, keys: Sequence[str], pairs: Pairs) -> pa.Table:
    """The most similar evaluation sample of each node.

    Args:
        first: the number of the first node.
        count: how many nodes there are; in `pairs` they are numbered from 0.
        keys: the keys of the evaluation's samples, which are numbered after the nodes.
        pairs: the near ones.
    """
    a, b, similarity = pairs.a, pairs.b, pairs.similarity
    across = np.flatnonzero((a < count) & (b >= count))
    best = across[np.lexsort((b[across], -similarity[across], a[across]))]
    best = best[np.unique(a[best], return_index=True)[1]]
    return _matches(first + a[best], [keys[i - count] for i in b[best]], similarity[best])


def _matches(numbers: np.ndarray, keys: list[str], similarity: np.ndarray) -> pa.Table:
    """Matches of nodes, by their numbers, as `incremental.Find` returns them."""
    columns = [numbers, pa.array(keys, pa.string()), pa.array(similarity, pa.float32())]
    return pa.table(columns, ["a", "b", "similarity"])


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
