"""Decontamination: samples near to those that something is going to be evaluated on.

Pictures and recordings are compared as near-duplicates are. Texts are compared by word n-grams as
in GPT-3's appendix C (Brown et al. 2020): a text that shares 13 words in a row with an evaluation
text, or all of its words where it has 8 to 12, is contaminated; shorter ones say too little.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.duplicates import audio, incremental
from pipelines.duplicates.evaluation_sets import QUALITY, Listed, read
from pipelines.duplicates.images import copies
from pipelines.duplicates.near import Pictures, Texts
from pipelines.duplicates.texts.shingles import fold
from pipelines.signals.scorers.image_copies import LOOK
from pipelines.sources.evaluation_files import listing
from store import identity
from store.config.duplicates import Evaluation
from store.tables import schema
from store.tables.staging import Entry
from store.workspace import Workspace

VERSION = 2
_TEXTS = 8192


def contaminated(
    workspace: Workspace, samples: pa.Table, evaluation: Evaluation
) -> tuple[dict[int, tuple[str, float]], list[Entry]]:
    """Rows of `samples` (see `facts`) that are near to an evaluation's: its key and how similar
    they are; and the evaluation's records that could not be read.

    Raises SourceError where its path does not exist.
    """
    listed = read(workspace, evaluation)
    asked, name = workspace.config.duplicates, f"{schema.EVALUATION}{evaluation.name}"
    found: dict[int, tuple[str, float]] = {}
    settings = listing(workspace, evaluation), asked.image, asked.audio, VERSION

    def compare(part: str, names: pa.Array, rows: np.ndarray, find: incremental.Find) -> None:
        key = identity.run_key(name, part, settings)
        kind, nodes = f"{name}:{part}", pc.unique(names)
        pairs = incremental.compare(workspace.tables, kind, key, nodes, find, among=False)
        near = dict(zip(pairs["a"].to_pylist(), zip(*_columns(pairs), strict=True), strict=True))
        for row, node in zip(rows.tolist(), names.to_pylist(), strict=True):
            if node in near:
                found.setdefault(row, near[node])

    if asked.image is not None:
        rows = _there(pc.greater_equal(samples["image_pdq_quality"], QUALITY))
        ids = samples["image_id"].take(pa.array(rows)).combine_chunks()

        def pictures(nodes: pa.Array, first: int) -> tuple[pa.Array, pa.Array, np.ndarray]:
            new = nodes[first:]
            place = pa.array(rows).take(pc.index_in(new, value_set=ids))
            own = Pictures(workspace.tables, samples, place)
            return _pictures(new, own, listed, asked.image or 0)

        compare("image", ids, rows, pictures)
    if asked.audio is not None:
        rows = _there(pc.is_valid(samples["audio_fingerprint"]))
        ids = samples["audio_id"].take(pa.array(rows)).combine_chunks()
        prints = samples["audio_fingerprint"].take(pa.array(rows))

        def sounds(nodes: pa.Array, first: int) -> tuple[pa.Array, pa.Array, np.ndarray]:
            new = nodes[first:]
            own = prints.take(pc.index_in(new, value_set=ids)).to_pylist()
            heard = [key for key, _ in listed.prints]
            pairs = audio.pairs([*own, *(p for _, p in listed.prints)], asked.audio or 1, len(own))
            return _named(new, heard, pairs.a, pairs.b, pairs.similarity)

        compare("audio", ids, rows, sounds)
    rows = _there(pc.is_valid(samples["text_id"]))
    ids = samples["text_id"].take(pa.array(rows)).combine_chunks()

    def texts(nodes: pa.Array, first: int) -> tuple[pa.Array, pa.Array, np.ndarray]:
        new = nodes[first:]
        place = pa.array(rows).take(pc.index_in(new, value_set=ids))
        near = dict(_sharing(Texts(workspace.tables, samples, place), len(new), listed.grams))
        a, b = new.take(pa.array(list(near), pa.int64())), pa.array(near.values(), pa.string())
        return a, b, np.ones(len(near), np.float32)

    compare("text", ids, rows, texts)
    return found, listed.bad


def _pictures(
    new: pa.Array, own: Pictures, listed: Listed, radius: int
) -> tuple[pa.Array, pa.Array, np.ndarray]:
    keys, hashes, seen = zip(*listed.pictures, strict=True) if listed.pictures else ((), (), ())
    theirs = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, *own.hashes.shape[1:])
    shown = np.frombuffer(b"".join(seen), np.uint8).reshape(-1, LOOK, LOOK, 3)

    def looks(places: np.ndarray) -> np.ndarray:
        mine, out = places < len(new), np.empty((len(places), *shown.shape[1:]), np.uint8)
        out[mine] = own.looks(places[mine])
        out[~mine] = shown[places[~mine] - len(new)]
        return out

    pairs = copies.pairs(np.concatenate([own.hashes, theirs]), looks, radius, len(new))
    return _named(new, keys, pairs.a, pairs.b, pairs.similarity)


def _named(
    new: pa.Array,
    listed: Sequence[str],
    a: np.ndarray,
    b: np.ndarray,
    similar: np.ndarray,
) -> tuple[pa.Array, pa.Array, np.ndarray]:
    """Pairs of a new node with a listed sample, the most similar one of each node."""
    here = np.flatnonzero((a < len(new)) & (b >= len(new)))
    best = here[np.lexsort((b[here], -similar[here], a[here]))]
    best = best[np.unique(a[best], return_index=True)[1]]
    keys = pa.array([listed[i - len(new)] for i in b[best]], pa.string())
    return new.take(pa.array(a[best])), keys, similar[best]


def _sharing(texts: Texts, count: int, grams: dict[str, str]) -> Iterator[tuple[int, str]]:
    sizes = sorted({g.count(" ") + 1 for g in grams}, reverse=True)
    for start in range(0, count if grams else 0, _TEXTS):
        places = np.arange(start, min(start + _TEXTS, count))
        for place, folded in zip(places.tolist(), fold(texts(places)), strict=True):
            words = folded.split()
            runs = (" ".join(words[i : i + n]) for n in sizes for i in range(len(words) - n + 1))
            if (key := next((grams[r] for r in runs if r in grams), None)) is not None:
                yield place, key


def _there(condition: pa.ChunkedArray) -> np.ndarray:
    return np.flatnonzero(pc.fill_null(condition, False).to_numpy())


def _columns(pairs: pa.Table) -> tuple[list, list]:
    return pairs["b"].to_pylist(), pairs["similarity"].to_pylist()
