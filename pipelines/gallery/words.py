"""Words for images and recordings: the words of the bank's captions that fit an item best.

After LexVLA (Li et al. 2024, "Unified lexical representation for interpretable visual-language
alignment", NeurIPS) and FDT (Chen et al. 2023, "Revisiting multimodal representation in contrastive
learning", CVPR), without training: the words are texts of the space, and an item is compared with
each of them. LexVLA's penalty on overused words is a correction of hubs, so it is chosen and fitted
as every other one: items ask, words answer, and the pairs of the validation split decide.

The words change when the corrections are fitted anew, so those of unchanged items stay valid.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipelines.decisions.kept_samples import KeptSamples
from pipelines.engine.encode_texts import encode_texts
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.corrections.select import choose_method
from store.search.caption_words import words_of
from store.tables.banks import MIN_BANK_SIZE, Banks
from store.tables.names import bank_table
from store.tables.table_version import TableVersion, take_rows
from store.tables.words import ItemWords, read_words

# Corrections that do not move vectors: an item's score of a word is a cosine less a bias.
_METHODS = ("nnn", "csls", "inverted_softmax", "sinkhorn")


def fit_words(context: StageContext, samples: KeptSamples) -> ItemWords | None:
    """The words of the galleries' items; those of the last galleries if they are still valid.

    Args:
        samples: the kept samples.

    Returns:
        None if corpus.yaml asks for no words, or the space has no texts.
    """
    settings, space = context.config.words, context.space
    if settings is None or "text" not in space.towers:
        return None
    key = run_keys.fit_settings(context)
    stored = read_words(context.tables, space.name)
    if stored is not None and stored.key == key:
        return stored
    banks = Banks(context.tables.open(bank_table(space.name)))
    captions = bank_captions(context, samples, banks.part("bank", "text").parts)
    counts = Counter(word for caption in captions.values() for word in words_of(caption))
    least = settings.least_captions
    most = max(least, settings.most_share * len(captions))
    usable = [word for word, count in counts.items() if least <= count <= most]
    words = sorted(usable, key=lambda w: (-counts[w], w))[: settings.vocabulary]
    encoded = encode_texts(space.towers["text"], words, "words of captions")
    words = [word for word in words if encoded[word] is not None]
    dim = banks.part("bank", "text").vectors.shape[1]
    vectors = np.array([encoded[word] for word in words], np.float32).reshape(-1, dim)
    modalities = [m for m in sorted(space.towers) if m != "text"]
    answers = bank_captions(context, samples, banks.part("validation", "text").parts)
    biases = {m: _bias(banks, m, words, vectors, answers) for m in modalities}
    return ItemWords(words, vectors, biases, settings.count, key)


def bank_captions(
    context: StageContext, samples: KeptSamples, parts: Iterable[str]
) -> dict[str, str]:
    """The captions of texts of the banks, by part id. Texts that left the corpus are left out."""
    rows = samples.having("text_id", map(str, parts))
    tables = context.tables
    source = TableVersion(tables, "samples", tables.version("samples"))
    texts = take_rows(source, rows["row"].to_pylist(), ["text"])["text"].to_pylist()
    named = zip(rows["text_id"].to_pylist(), rows["repair_text"].to_pylist(), texts, strict=True)
    return {part: repaired or text for part, repaired, text in named}


def _bias(
    banks: Banks, modality: str, words: list[str], vectors: np.ndarray, captions: dict[str, str]
) -> np.ndarray:
    """The bias (n,) of each word for items of a modality: of the correction that does best.

    Args:
        banks: whose items ask.
        modality: of the items.
        words: n words.
        vectors: of the words (n, d).
        captions: of the texts of validation pairs, by part id.
    """
    items = banks.items(modality)
    if len(items.parts) < MIN_BANK_SIZE or len(words) < MIN_BANK_SIZE:
        return np.zeros(len(words), np.float32)
    queries = banks.part("validation", modality)
    pairs = banks.pairs("validation", modality, "text")
    number = {word: n for n, word in enumerate(words)}
    relevant = []
    for part in queries.parts:
        own = [words_of(captions.get(text, "")) for text in pairs.get(part, ())]
        relevant.append(sorted({number[w] for w in set().union(*own) if w in number}))
    arrays: dict[str, Any] = {
        "gallery": vectors,
        "query_bank": items.vectors,
        "gallery_bank": vectors,
        "gallery_ids": [f"word {word}" for word in words],
        "query_bank_ids": items.clusters,
        "gallery_bank_ids": [f"bank {word}" for word in words],  # else all words were left out
    }
    choice = choose_method(
        queries=queries.vectors, relevant=relevant, methods=_METHODS, own_bank=True, **arrays
    )
    return np.asarray(choice.fit(**arrays).bias, np.float32)
