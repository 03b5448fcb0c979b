"""What `isotrope init` says about the records of a source."""

from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from orchestration.cli.console import console
from orchestration.cli.quantities import size_text, time_text

if TYPE_CHECKING:  # slow to import
    from pipelines.estimate.survey import Survey
    from pipelines.sources.drops import Drop

_MOST_LANGUAGES = 5
_SMALL_DROP, _MANY_DROPS = 1_000, 10
_WORDS_IN_NAMES = 0.8  # share of files whose names would do as captions


def print_survey(survey: "Survey", counts: Mapping["Drop", int]) -> None:
    """Print what the records are, and what follows from it.

    Args:
        survey: of some records.
        counts: the records of each drop.
    """
    total = sum(counts.values())
    table = Table(
        "part", title=f"{survey.records:,} of {total:,} records, decoded", title_justify="left"
    )
    table.add_column("records", justify="right")
    table.add_column("what they are")
    details = {
        "image": _range(survey.sides, "pixels on the shorter side"),
        "text": _languages(survey),
        "audio": _range(survey.seconds, "seconds"),
    }
    for part, detail in details.items():
        table.add_row(part, f"{survey.parts[part]:,}", detail)
    for rule, count in survey.failed.most_common():
        problem = escape(f"{rule}, such as: {survey.problems[rule]}")
        table.add_row("not usable", f"{count:,}", problem, style="red")
    console.print(table)
    for line in _remarks(survey, counts):
        console.print(line)


def _remarks(survey: "Survey", counts: Mapping["Drop", int]) -> list[str]:
    total, seen = sum(counts.values()), max(survey.records, 1)
    size = size_text(total * survey.media_bytes / seen)
    decoding = time_text(total * survey.decoding / seen)
    remarks = [
        f"all records: about {size} of media, which the tables will hold unchanged; to read and"
        f" decode them takes about {decoding} of one core. When a drop is made, `isotrope"
        " estimate` tells time and disk of all stages."
    ]
    media = survey.parts["image"] + survey.parts["audio"]
    if media and not survey.parts["caption"] and len(survey.names) >= _WORDS_IN_NAMES * media:
        remarks.append(
            "no image or sound has a caption, but the names of the files are words, such as"
            f" {escape(repr(survey.names[0][:60]))}. Write `captions: names` below `drop_by` in"
            " corpus.yaml before the first run, or use `isotrope init --captions names`: then they"
            " are the captions, and search can be corrected."
        )
    elif media and not survey.parts["caption"]:
        remarks.append(
            "no image or sound has a caption: there are no pairs to choose corrections on, so"
            " search will rank by raw scores. A caption is a text file of the same name"
            " (cat.jpg, cat.txt), or a column of a manifest."
        )
    if len(counts) > _MANY_DROPS and total / len(counts) < _SMALL_DROP:
        remarks.append(
            f"{len(counts):,} drops have {total / len(counts):,.0f} records each; if they arrive"
            " together, write `drop_by: source` into corpus.yaml before the first run: that makes"
            " one drop of them, which is faster."
        )
    return remarks


def _range(values: list[int] | list[float], unit: str) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{_number(values[0])} {unit}"
    low, high = _number(min(values)), _number(max(values))
    return f"{low} to {high} {unit}, half below {_number(median(values))}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _languages(survey: "Survey") -> str:
    texts = survey.languages.total()
    common = survey.languages.most_common(_MOST_LANGUAGES)
    return ", ".join(f"{name} {100 * count / texts:.0f}%" for name, count in common)
