"""The list of scorers, and which of them a corpus uses."""

from pathlib import Path

from pipelines.signals.scorer import Scorer
from pipelines.signals.scorers import (
    audio_bandwidth,
    audio_fingerprint,
    audio_length,
    audio_levels,
    audio_loudness,
    audio_speech,
    image_copies,
    image_edits,
    image_hash,
    image_local,
    image_nsfw,
    image_pixels,
    image_size,
    text_boilerplate,
    text_contacts,
    text_flagged,
    text_language,
    text_length,
    text_offensive,
    text_repetition,
)
from pipelines.signals.scorers.image_classifier import classifier
from store.config.corpus_yaml import CorpusConfig
from store.tables.signals import SCORERS

# The scorers that need no model. Those of fingerprints run only if they are needed.
DEFAULT_SCORERS: tuple[Scorer, ...] = (
    image_size.SIZE,
    image_pixels.PIXELS,
    image_hash.HASH,
    image_copies.COPIES,
    image_local.LOCAL,
    text_length.LENGTH,
    text_repetition.REPETITION,
    text_language.LANGUAGE,
    text_contacts.CONTACTS,
    text_flagged.FLAGGED,
    text_boilerplate.BOILERPLATE,
    audio_length.LENGTH,
    audio_loudness.LOUDNESS,
    audio_levels.LEVELS,
    audio_bandwidth.BANDWIDTH,
    audio_fingerprint.FINGERPRINT,
)


def check_packages(config: CorpusConfig) -> None:
    """Raises EncoderError if corpus.yaml turns on a scorer whose package is not installed."""
    if config.signals.nsfw is True:
        image_nsfw.packaged_model()
    if config.signals.offensive:
        text_offensive.packaged_model()
    if config.duplicates.crops is not None:
        image_local.detector()


def active(config: CorpusConfig, root: Path) -> tuple[Scorer, ...]:
    """The scorers that a corpus uses.

    Args:
        config: its corpus.yaml.
        root: the folder of the corpus, where relative paths of classifiers start.
    """
    signals, needed = config.signals, config.fingerprint_scorers()
    return (
        *(s for s in DEFAULT_SCORERS if s.name in needed or not SCORERS[s.name].is_fingerprint),
        *((image_edits.EDITS,) if signals.edits else ()),
        *((image_nsfw.nsfw(signals.nsfw_model(root)),) if signals.nsfw else ()),
        *((text_offensive.OFFENSIVE,) if signals.offensive else ()),
        *((audio_speech.SPEECH,) if signals.speech else ()),
        *(classifier(n, c, c.path(root)) for n, c in signals.classifiers().items()),
    )
