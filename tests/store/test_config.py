"""corpus.yaml: errors name the line, the field and what is allowed."""

import pytest

from store.config.corpus_yaml import load, parse
from store.errors import ConfigError, NotFoundError

GOOD = "sources:\n  photos:\n    path: drops\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sources: [", r"corpus.yaml:1: not YAML"),
        ("a list", r"a mapping is expected"),
        ("tables: here\n", r"corpus.yaml:1: sources: required"),
        (GOOD + "colour: red\n", r"corpus.yaml:4: colour: unknown key; allowed here: sources, "),
        (GOOD + "    speed: 3\n", r":4: sources.photos.speed: unknown key; allowed here: path, "),
        (GOOD + "    drop_by: day\n", r":4: sources.photos.drop_by: .*'entry' or 'source'.*'day'"),
        (GOOD + "limits:\n  image_pixels: -1\n", r":5: limits.image_pixels: .*greater than 0"),
        (GOOD + "policy:\n  beauty: {min: 1}\n", r":4: policy: 'beauty' is not a signal; allowed"),
        (GOOD + "policy:\n  text_language: {min: 1}\n", r"is text: use in or not_in"),
        (GOOD + "policy:\n  image_aspect: {in: [a]}\n", r"is a number: use min or max"),
        (GOOD + "policy:\n  image_aspect: {min: 3, max: 2}\n", r"nothing would be kept"),
        (GOOD + "policy:\n  image_aspect: {}\n", r"at least one of min, max, in, not_in"),
        (GOOD + "policy:\n  image_aspect: {most: 3}\n", r":5: .*unknown key; allowed here: min, "),
        (GOOD + "space: clip\n", r"space 'clip' is not among spaces: local"),
        (GOOD + "engine:\n  ray: {actors: many}\n", r":5: engine.ray.actors: .*'many'"),
        (GOOD + "corrections: {bank_share: 0.8, test_share: 0.3}\n", r"must stay below 1"),
        (
            GOOD + "corrections:\n  query_bank: web\n",
            r":5: .*query_bank.*'corpus', 'file' or 'log'",
        ),
        (GOOD + "corrections:\n  query_bank: file\n", r":4: .*file and queries: PATH go together"),
        (GOOD + "corrections: {queries: a.txt}\n", r":4: .*file and queries: PATH go together"),
        (GOOD + "corrections: {query_bank: [corpus, log]}\n", r"log needs a log: add `query_log: "),
        (
            GOOD + "corrections:\n  methods: [magic]\n",
            r":5: .*no correction called 'magic'; the methods are",
        ),
        (
            GOOD + 'corrections:\n  directions: {"text->film": nnn}\n',
            r":5: .*'text->film': not a direction such as text->image;"
            r" modalities are image, text, audio",
        ),
        (GOOD + 'corrections: {directions: {"text->image": none+nnn}}\n', r"cannot be composed"),
        (GOOD + "corrections: {drift_bound: 0}\n", r"drift_bound: .*greater than 0"),
        (GOOD + "query_log: {days: 3}\n", r":4: .*allowed here: keep_days, keep_rows"),
    ],
)
def test_error_messages(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        parse(text)


def test_defaults(tmp_path) -> None:
    (tmp_path / "corpus.yaml").write_text(GOOD)
    config = load(tmp_path)
    assert config.space == "local"
    assert config.query_log is None  # logging is opt-in
    assert config.corrections.query_bank == ("corpus",)
    assert list(config.policy.rules) == ["image_min_side", "image_aspect", "text_chars"]


def test_missing_file(tmp_path) -> None:
    with pytest.raises(NotFoundError, match="isotrope init"):
        load(tmp_path)


def test_the_alternatives_of_a_field_are_one_error() -> None:
    with pytest.raises(ConfigError) as raised:
        parse("sources: {a: {path: x}}\nsignals: {nsfw: 3}\n")
    (line,) = str(raised.value).splitlines()
    assert line.startswith("corpus.yaml:2: signals.nsfw: Input should be a valid boolean")
    assert line.endswith(", or: Input should be a valid string (given: 3)")
