"""The column `cascade` of `signals`: what the scorers of a cascade did with a sample.

It has `NAME=NOTE` for each scorer, joined by spaces. A note is the processor seconds of a sample
that was measured (`0.026s`), the rule that rejects a sample (`image_min_side.min`), or the
predicted outcome of the scorer's rules, `keep` or `reject`.
"""

from collections.abc import Mapping

KEEP, REJECT = "keep", "reject"


def parse_notes(text: str | None) -> dict[str, str]:
    """The notes of a row by scorer."""
    pairs = (word.partition("=") for word in (text or "").split())
    return {name: note for name, _, note in pairs}


def format_notes(notes: Mapping[str, str]) -> str | None:
    """Notes as the column has them; None if there are none."""
    return " ".join(f"{name}={note}" for name, note in sorted(notes.items())) or None


def seconds_of(note: str | None) -> float | None:
    """The processor seconds of a note; None if the scorer did not measure the sample."""
    if note is None or not note.endswith("s"):
        return None
    return float(note[:-1])


def reason_of(note: str) -> str:
    """Why a scorer did not measure a sample, as a clause."""
    if note in (KEEP, REJECT):
        return f"its rules are predicted to {note} it"
    return f"{note} rejects it before"
