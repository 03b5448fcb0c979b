"""Ranks the best rows of a list anew by late interaction: MaxSim of token vectors.

One vector says what a text or an image is about as a whole; token vectors keep its details, such
as one word of a long caption (ColBERT, Khattab and Zaharia 2020; FILIP, Yao et al. 2022). LanceDB's
own search of multivectors knows cosines alone, so candidates come from the corrected search, and
are scored here by `store.search.max_sim`. The score of a row is a mix of its MaxSim and its score
in the list. A query of several inputs has the weighted sum of their MaxSim.

Tokens that are near to everything, such as those of "a" and "the", get a bias each: NNN (see
`store.corrections.methods.nnn`), fitted on the tokens of the release's query bank. It is computed
for the candidates when the query runs, so nothing has to be made anew when the banks change. A
query with `correct("none")` has no biases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.corrections import prepare
from store.corrections.prepared import Prepared
from store.errors import InputError
from store.search.encode import EncodedQuery
from store.search.inputs import Input
from store.search.max_sim import max_sim, mixed
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.ranked import Ranked
from store.tables.banks import MIN_BANK_SIZE, Bank
from store.tables.damage import detected
from store.tables.lance_tables import one_of
from store.tables.schema import MODALITIES
from store.tables.tokens import TokenSets, fingerprint, read_column

SCORE, MAX_SIM = "_late", "_max_sim"
BANK_PARTS, BANK_TOKENS = 512, 1024  # of the query bank that biases are fitted on
ALPHA, NEAREST = 0.5, 16  # of NNN; chosen as docs/retrieval.md says
_BLOCK = 256  # items that are scored at once, to bound memory


class TokenInput(NamedTuple):
    """One input of a query: its modality, its weight, and its token vectors (m, d)."""

    modality: str
    weight: float
    vectors: np.ndarray


def token_inputs(
    opened: OpenRelease, query: Query, batch: Sequence[EncodedQuery]
) -> list[list[TokenInput]]:
    """The token vectors of the inputs of each query of a batch. Equal inputs are encoded once.

    Inputs without token vectors, such as a text of blanks, are left out.

    Args:
        opened: the release.
        query: the batch.
        batch: its queries, encoded.

    Raises:
        InputError: the query is compound or searches several galleries, the release has no token
            vectors of the gallery or of an input that is given by id, or an input is a vector.
        EncoderError: an input's tower has no token vectors.
    """
    if query.compound is not None:
        raise InputError("late() cannot rank a compound query: it has no token vectors of its own")
    if query.gallery not in MODALITIES:
        raise InputError(
            f'late() ranks one gallery anew, not among("{query.gallery}"): use among("text") or'
            " another modality"
        )
    _table(opened, query.gallery)
    inputs = {i for each in query.inputs for i in each}
    if any(i.kind == "vector" for i in inputs):
        raise InputError("late() needs texts, media or ids: a vector has no token vectors")
    values: dict[str, list[Input]] = {}
    for i in sorted((i for i in inputs if i.kind != "id"), key=repr):
        values.setdefault(i.modality, []).append(i)
    encoded = {}
    if values:  # a client without encoders can give ids
        encoded = opened.encode_tokens({m: [i.value for i in own] for m, own in values.items()})
    vectors = {
        i: own
        for m, each in values.items()
        for i, own in zip(each, encoded[m].split(), strict=True)
    }
    parts: dict[str, dict[str, None]] = {}
    for part in (i for weighted in batch for i in weighted.inputs if i.part):
        parts.setdefault(part.modality, {})[part.part] = None
    stored = {
        part: rows
        for m, own in parts.items()
        for part, rows in zip(own, read_tokens(opened, m, list(own)).split(), strict=True)
    }
    answer = []
    for each, weighted in zip(query.inputs, batch, strict=True):
        tokens = [TokenInput(i.modality, i.weight, vectors[i]) for i in each if i in vectors]
        tokens += [
            TokenInput(i.modality, i.weight, stored[i.part]) for i in weighted.inputs if i.part
        ]
        answer.append([each for each in tokens if len(each.vectors)])
    return answer


def rerank_late(
    opened: OpenRelease, query: Query, inputs: Sequence[TokenInput], ranked: Ranked
) -> Ranked:
    """A list in the order of its scores mixed with the MaxSim of its rows.

    Args:
        opened: the release.
        query: its gallery, correction and weight are used.
        inputs: of the query, as `token_inputs` gives them.
        ranked: the list, of one gallery, with the column `cluster`.

    Raises:
        InputError: the token vectors of an input and of the items differ in width.
    """
    assert query.interaction is not None
    rows, blocks = ranked.answer.rows, []
    biases_of = {
        m: None if query.method == "none" else token_correction(opened, m, query.gallery)
        for m in {i.modality for i in inputs}
    }
    for start in range(0, rows.num_rows, _BLOCK):
        block = rows.slice(start, _BLOCK)
        items = read_tokens(opened, query.gallery, block["part_id"].to_pylist())
        clusters = block["cluster"].to_numpy(zero_copy_only=False).astype(str)
        blocks.append(_score(items, np.repeat(clusters, items.lengths), inputs, biases_of))
    late = np.concatenate(blocks or [np.zeros(0, np.float32)])
    own = rows[ranked.score].to_numpy()
    score = mixed(own, late, query.interaction.weight)
    rows = rows.append_column(SCORE, pa.array(score))
    rows = rows.append_column(MAX_SIM, pa.array(late, from_pandas=True))  # NaN becomes null
    rows = rows.take(pa.array(np.lexsort((-own, -score))))
    kind = "corrected" if any(biases_of.values()) else "raw"
    note = f"late: the best {len(late):,} rows were ranked anew by {kind} MaxSim of tokens"
    notes = (*ranked.answer.notes, note)
    return Ranked(
        replace(ranked.answer, rows=rows, complete=False, notes=notes), SCORE, ranked.is_all
    )


def _score(
    items: TokenSets,
    clusters: np.ndarray,
    inputs: Sequence[TokenInput],
    biases_of: Mapping[str, Prepared | None],
) -> np.ndarray:
    """The weighted sum (n,) of the MaxSim of inputs; NaN for items without token vectors.

    Args:
        items: n items with t token vectors.
        clusters: (t,) of their token vectors.
        inputs: of the query.
        biases_of: the correction by modality of inputs.
    """
    has_score = (items.lengths > 0) & bool(inputs)
    total = np.where(has_score, np.float32(0), np.float32(np.nan))
    biases: dict[str, np.ndarray | None] = {}
    for i in inputs:
        if i.vectors.shape[1] != items.vectors.shape[1]:
            raise InputError(
                f"late(): token vectors of {i.modality} have {i.vectors.shape[1]} dimensions, those"
                f" of the items {items.vectors.shape[1]}: the space cannot compare them"
            )
        if not len(items.vectors):
            continue
        if i.modality not in biases:
            biases[i.modality] = token_biases(biases_of[i.modality], items.vectors, clusters)
        total += np.float32(i.weight) * max_sim(i.vectors, items, biases[i.modality])
    return total


def token_correction(opened: OpenRelease, query: str, gallery: str) -> Prepared | None:
    """NNN on tokens of the query bank: of queries, if these have token vectors, else of the corpus.

    Fitted once for an open release. None: there is no bank.
    """
    key = query, gallery
    if key not in opened.token_corrections:
        opened.token_corrections[key] = _fit(opened, query, gallery)
    return opened.token_corrections[key]


def token_biases(
    fitted: Prepared | None, vectors: np.ndarray, clusters: np.ndarray
) -> np.ndarray | None:
    """The biases (t,) of token vectors (t, d) of items in clusters (t,); None: there are none."""
    return None if fitted is None else fitted.apply(vectors, clusters)[0].bias


def _fit(opened: OpenRelease, query: str, gallery: str) -> Prepared | None:
    if opened.tokens(query) is None:
        return None
    queries, query_clusters = _bank_tokens(opened, query, opened.banks.queries(query))
    if len(queries) < MIN_BANK_SIZE:  # such as queries of the log, which are vectors alone
        queries, query_clusters = _bank_tokens(opened, query, opened.banks.items(query))
    items, item_clusters = _bank_tokens(opened, gallery, opened.banks.items(gallery))
    comparable = queries.shape[1] == items.shape[1]
    if not comparable or min(len(queries), len(items)) < MIN_BANK_SIZE:
        return None
    return prepare(
        "nnn",
        query_bank=queries,
        gallery_bank=items,
        query_bank_ids=query_clusters,
        gallery_bank_ids=item_clusters,
        alpha=ALPHA,
        k=NEAREST,
    )


def _bank_tokens(opened: OpenRelease, modality: str, bank: Bank) -> tuple[np.ndarray, np.ndarray]:
    """A random sample of the token vectors of a bank, (b, d), and their clusters (b,)."""
    sets = read_tokens(opened, modality, bank.parts[:BANK_PARTS].tolist())  # ids are hashes: a draw
    clusters = np.repeat(bank.clusters[:BANK_PARTS], sets.lengths)
    chosen = np.random.default_rng(0).permutation(len(clusters))[:BANK_TOKENS]
    return sets.vectors[chosen], clusters[chosen]


def _table(opened: OpenRelease, modality: str) -> lance.LanceDataset:
    if (table := opened.tokens(modality)) is None:
        raise InputError(
            f"late(): release {opened.release.number} has no token vectors of {modality}: they are"
            " made with `late: {}` in corpus.yaml, if the space's tower offers them"
        )
    return table


def read_tokens(opened: OpenRelease, modality: str, parts: Sequence[str]) -> TokenSets:
    """The token vectors of parts, in their order; none for a part that has none of the release's
    encoder."""
    table = _table(opened, modality)
    with detected(table.uri, table.version):
        columns = ["part_id", "encoder", "tokens"]
        rows = table.to_table(columns=columns, filter=one_of("part_id", parts))
    expected = fingerprint(opened.release.fingerprints.get(modality, ""))
    rows = rows.filter(pc.equal(rows["encoder"], expected))
    number = {part: n for n, part in enumerate(parts)}
    numbers = np.array([number[part] for part in rows["part_id"].to_pylist()], np.int64)
    order = np.argsort(numbers)
    sets = read_column(rows["tokens"].take(pa.array(order)))
    lengths = np.zeros(len(parts), np.int64)
    lengths[numbers[order]] = sets.lengths
    return TokenSets(sets.vectors, lengths)
