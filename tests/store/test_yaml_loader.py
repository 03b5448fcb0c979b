"""corpus.yaml with hostile content: every failure is a ConfigError with the line."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.policy.whatif import changed_policy
from store.config import yaml_loader
from store.config.corpus_yaml import CorpusConfig, load, parse
from store.errors import ConfigError, InputError

GOOD = "sources:\n  photos:\n    path: drops\n"

# Every section and every kind of value.
FULL = """\
# a comment
sources:
  photos: {path: ~/photos, drop_by: entry, columns: {key: [id, url], captions: {de: caption_de}}}
  sounds: &sounds
    path: s3://bucket/sounds
    drop_by: source
    errors: {most: 0.25, least: 10}
  more: {<<: *sounds, path: "./caf\\u00e9"}
tables: tables
limits:
  image_pixels: 100_000_000
signals:
  nsfw: false
  aesthetic: {model: "onnx:models/a.onnx", side: 224, mean: [0.5, .5, 5e-1], activation: softmax}
pairs: {bank: 0x40, clusters: 0}
duplicates: {}
policy:
  image_min_side: {min: 256}
  image_aspect: {max: 3.5}
  text_language: {in: [en, de]}
space: local
spaces:
  local: {preset: local}
corrections:
  query_bank: [corpus, log]
  methods:
  - nnn
  - csls
  drift_bound: 0.1
query_log: {keep_days: 30}
engine:
  ray: {actors: 2, num_cpus: 1, address: null}
  signals: auto
  beam:
    options: {direct_num_workers: 2}
"""
TOKENS = (
    *("2020-99-99", "2020-01-01T99:99:99Z", "!!int x", "!!float x", "!!bool x", "!!timestamp x"),
    *("!!binary '?'", "!!set {a}", "!!omap [a: 1]", "!!pairs [a]", "!!null x", "!!map [", "!!seq"),
    *("!!python/object/apply:os.system [id]", "!!str", "!!int", "&a ", "*a", "*sounds", "<<: "),
    *("9" * 4301, "0x" + "f" * 5000, "1" + ":59" * 2000, ".nan", ".inf", "-.inf", "1e400", "0b"),
    *("[" * 200, "{" * 200, "- " * 200, "? ", "]", "}", ": ", ", ", "#", "|\n", ">-\n", "'", '"'),
    *("\t", "\r", "\n", "\n\n", "  ", "\0", "\x07", "\ufeff", "\u2028", "\U0001f600", '"\\0"', "%"),
    *("---\n", "...\n", "~", "null", "true", "-1", "0", "[]", "{}", "''", "a: 1", "1: 2", "<<"),
    *('"\\x"', "__class__: 1", "{{}: 1}", "[[]]", "0o8", "x" * 5000),
)  # fmt: skip


def outcome(content: bytes) -> None:
    """Parse as `load` does. Fails unless the result is a configuration or a ConfigError."""
    try:
        config = parse(content.decode("utf-8", errors="replace"))
    except ConfigError as error:
        for line in str(error).splitlines():
            assert re.match(r"corpus\.yaml(:[1-9]\d*)?: .", line), line
    else:
        assert isinstance(config, CorpusConfig)


def replace_bytes(content: bytes, start: int, length: int, new: bytes) -> bytes:
    start %= len(content) + 1
    return content[:start] + new + content[start + length :]


def replace_value(content: bytes, index: int, new: bytes) -> bytes:
    """Replace one word of the file: a key, a value or a number."""
    words = list(re.finditer(rb"[^\s:,\[\]{}]+", content))
    if not words:
        return content + new
    word = words[index % len(words)]
    return content[: word.start()] + new + content[word.end() :]


position = st.integers(0, len(FULL))
new = st.one_of(st.sampled_from([t.encode() for t in TOKENS]), st.binary(max_size=4))
mutations = st.lists(
    st.one_of(
        st.tuples(st.just(replace_value), st.tuples(position, new)),
        st.tuples(st.just(replace_bytes), st.tuples(position, st.integers(0, 40), new)),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.slow
@settings(max_examples=4_000)
@given(mutations)
@example([])
def test_every_mutation_is_valid_or_a_config_error(changes: list) -> None:
    content = FULL.encode()
    for change, arguments in changes:
        content = change(content, *arguments)
    outcome(content)


@settings(max_examples=500)
@given(st.lists(new, max_size=40).map(b"".join))
def test_any_text_is_valid_or_a_config_error(content: bytes) -> None:
    outcome(content)


def test_the_mutated_file_is_valid() -> None:
    config = parse(FULL)
    assert config.sources["more"].drop_by == "source"
    assert config.sources["more"].path == "./café"
    assert config.pairs.bank == 64


@pytest.mark.parametrize("token", TOKENS)
def test_each_token_as_each_value(token: str) -> None:
    for word in range(len(re.findall(rb"[^\s:,\[\]{}]+", FULL.encode()))):
        outcome(replace_value(FULL.encode(), word, token.encode()))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2020-99-99", "'2020-99-99' is not a valid timestamp"),
        ("!!int x", "'x' is not a valid int"),
        ("!!int ''", "'' is not a valid int"),
        ("!!float x", "'x' is not a valid float"),
        ("!!bool x", "'x' is not a valid bool"),
        ("!!timestamp x", "'x' is not a valid timestamp"),
        ("9" * 4301, "a number has at most 100 characters"),
        ("0x" + "9" * 5000, "a number has at most 100 characters"),
        ("[" * 51 + "]" * 51, "nested too deeply: at most 50 levels"),
        ("[" * 100_000, "nested too deeply: at most 50 levels"),
        ("&a [*a]", "an alias refers to a value that contains it"),
        ('"\\0"', r"the character U\+0000 is not allowed"),
        ("\x07", r"the character U\+0007 is not allowed"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor for the tag"),
    ],
)
def test_the_message_has_the_line_and_the_problem(value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^corpus\.yaml:5: not YAML: {message}"):
        parse(f"{GOOD}limits:\n  image_pixels: {value}\n")


def test_aliases_that_expand_to_billions_of_values_are_refused_at_once() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12)]
    begin = time.perf_counter()
    with pytest.raises(ConfigError, match=r":9: not YAML: too many values: at most 100,000"):
        parse(GOOD + "l0: &l0 [1, 1]\n" + "".join(levels))
    merges = [f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 40)]
    with pytest.raises(ConfigError, match="too many values"):
        parse(GOOD + "m0: &m0 {a: 1}\n" + "".join(merges))
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    "content",
    [
        "#" + "a" * (20 << 20),
        "# a\n" * (5 << 20),
        "[1" + ",1" * 400_000 + "]",
        "-\n" * 500_000,
        "a:\n" * 300_000,
        "x: 1" + ":1" * 500_000,
        "".join(f"k{n}: 1\n" for n in range(40_000)),
    ],
    ids=lambda content: content[:6],
)
def test_large_files_are_refused_in_seconds(tmp_path: Path, content: str) -> None:
    (tmp_path / "corpus.yaml").write_text(content)
    begin = time.perf_counter()
    with pytest.raises(ConfigError, match=r"corpus\.yaml:\d+: ") as error:
        load(tmp_path)
    assert time.perf_counter() - begin < 10
    assert len(str(error.value)) < 10_000


def test_a_large_comment_below_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "corpus.yaml").write_text(GOOD + "# a\n" * 200_000)
    assert load(tmp_path).sources["photos"].path == "drops"


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corpus.yaml").write_text(GOOD)

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(ConfigError, match=r"corpus\.yaml cannot be read: Permission denied"):
        load(tmp_path)


def test_without_libyaml_the_results_are_the_same() -> None:
    """PyYAML can be installed without its C part."""
    code = (
        "import yaml; del yaml.CSafeLoader\n"
        "from store.config import yaml_loader\n"
        "assert yaml_loader._Base is yaml.SafeLoader\n"
        "from tests.store import test_yaml_loader as t\n"
        "from store.config.corpus_yaml import parse\n"
        "print(parse(t.FULL))\n"
        "for token in t.TOKENS:\n"
        "    for word in range(0, 70, 20):\n"
        "        t.outcome(t.replace_value(t.FULL.encode(), word, token.encode()))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{parse(FULL)}\n"


def test_libyaml_is_used() -> None:
    assert issubclass(yaml_loader._Loader, yaml.CSafeLoader)


@pytest.mark.parametrize("value", ["2020-99-99", "!!int x", "9" * 5000, "[" * 1000])
def test_values_of_whatif_are_read_by_the_same_rules(value: str) -> None:
    with pytest.raises(InputError, match=r"--set 'image_min_side\.min=.*: value:1: not YAML: "):
        changed_policy(parse(GOOD), (f"image_min_side.min={value}",))


@pytest.mark.parametrize("text", ["policy: {}\npolicy: {}\n", "policy: {a: 1, a: 2}\n"])
def test_a_key_that_is_given_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r":[45]: not YAML: '(policy|a)' is given twice"):
        parse(GOOD + text)
