"""Captions with times, from SubRip (.srt) and WebVTT (.vtt) files."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_TAG = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}")  # <i>, <c.yellow>, {\an8}


class Cue(NamedTuple):
    """A text, and its times in seconds."""

    start: float
    end: float
    text: str


def parse(text: str) -> list[Cue]:
    """The cues of a file, in their order. What is no cue is ignored, and so are cues without text.

    Args:
        text: of a SubRip or WebVTT file.
    """
    cues: list[Cue] = []
    times: tuple[float, float] | None = None
    words: list[str] = []
    for line in [*text.splitlines(), ""]:
        match = _TIMES.match(line)
        if match is None and line.strip() and times is not None:
            words.append(_TAG.sub("", line).strip())
            continue
        if times is not None and any(words):
            cues.append(Cue(*times, " ".join(filter(None, words))))
        times, words = None, []
        if match is not None:
            times = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
    return cues


def text_between(cues: Sequence[Cue], start: float, end: float) -> str:
    """The texts that are shown at some time from `start` on and before `end`, each once."""
    shown = (cue.text for cue in cues if cue.start < end and cue.end > start)
    return " ".join(dict.fromkeys(shown))


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + float(f"0.{fraction}")
