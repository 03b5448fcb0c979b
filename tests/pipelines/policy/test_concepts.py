"""Balance over concepts: matches and probabilities against loops, lists of names, and a policy."""

import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.policy.concepts import match_captions, probabilities, read_concepts, threshold
from pipelines.policy.judge import gather_evidence, judge
from pipelines.policy.whatif import compare_policies
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.config.corpus_yaml import parse
from store.config.policy import Policy
from store.config.rules import Concepts
from store.errors import ConfigError, InputError, NotFoundError
from store.workspace import Workspace

NAMES = pa.array(["a b", "a b c", "b", "c", "straße"], pa.large_string())
WORDS = st.lists(st.sampled_from(["a", "b", "c", "B", "c,", "straße", "x", "-", ""]), max_size=8)
STORED = Path(__file__).resolve().parents[2] / "data" / "corpus-format-1.tar.gz"


@given(st.lists(st.lists(st.none() | WORDS.map(" ".join), max_size=5), max_size=3))
def test_matches_are_those_of_loops(chunks: list[list[str | None]]) -> None:
    captions = pa.chunked_array([pa.array(c, pa.large_string()) for c in chunks], pa.large_string())
    matches = match_captions(captions, NAMES)
    expected = set()
    for row, caption in enumerate(captions.to_pylist()):
        words = " " + " ".join(re.findall(r"[^\W_]+", (caption or "").lower())) + " "
        expected |= {(row, n) for n, name in enumerate(NAMES.to_pylist()) if f" {name} " in words}
    pairs = list(zip(matches.samples.tolist(), matches.concepts.tolist(), strict=True))
    assert pairs == sorted(expected)


@settings(max_examples=30)
@given(st.text(max_size=40))
def test_any_caption_can_be_matched(caption: str) -> None:
    match_captions(pa.chunked_array([pa.array([caption], pa.large_string())]), NAMES)


def test_probabilities_are_those_of_independent_draws() -> None:
    captions = ["b", "b c", "c", "x", *["b"] * 6]
    matches = match_captions(pa.chunked_array([pa.array(captions, pa.large_string())]), NAMES)
    counts = matches.counts(np.ones(len(captions), bool))
    assert counts.tolist() == [0, 0, 8, 2, 0]
    found = probabilities(matches, counts, 1, len(captions))
    expected = [1 / 8, 1 - (1 - 1 / 8) * (1 - 1 / 2), 1 / 2, np.nan, *[1 / 8] * 6]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(probabilities(matches, counts, 8, len(captions))[:3], 1)


def test_the_threshold_keeps_the_tail() -> None:
    counts = np.array([1] * 30 + [10] * 4 + [930])
    assert threshold(Concepts(names="imagenet", most=7), counts) == 7
    assert threshold(Concepts(names="imagenet", tail=0.03), counts) == 1
    assert threshold(Concepts(names="imagenet", tail=0.05), counts) == 10
    assert threshold(Concepts(names="imagenet", tail=0.5), counts) == 930
    assert threshold(Concepts(names="imagenet", tail=0.5), np.zeros(3, int)) == 1


@pytest.fixture
def corpus(tmp_path: Path) -> Workspace:
    """A stored corpus with captions such as "a red square number 5"."""
    with tarfile.open(STORED) as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / "names.txt").write_text("Red\nblue\n\nnumber 42\nSquare\n")
    return Workspace.open(tmp_path)


def with_policy(corpus: Workspace, **concepts: object) -> Workspace:
    policy = Policy.model_validate({"concepts": {"names": "names.txt", **concepts}})
    return replace(corpus, config=corpus.config.model_copy(update={"policy": policy}))


def test_frequent_concepts_are_cut_and_rare_ones_kept(corpus: Workspace) -> None:
    changed = with_policy(corpus, most=6)
    evidence = gather_evidence(changed, [changed.config.policy], ["id"])
    verdicts = judge(evidence, changed.config.policy)
    concepts = changed.config.policy.concepts
    assert concepts is not None
    counts = {
        name: (int(before), int(after))
        for name, before, after in zip(
            evidence.matches[concepts.matching].names.to_pylist(),
            evidence.matches[concepts.matching].counts(np.ones(len(verdicts.kept), bool)),
            evidence.matches[concepts.matching].counts(verdicts.kept),
            strict=True,
        )
    }
    assert set(verdicts.counts()) <= {"concepts.most", "duplicate.exact"}
    assert counts["number 42"] == (1, 1)
    assert counts["square"][0] == len(verdicts.kept)
    assert counts["square"][1] < counts["square"][0]
    rule, value, limit = verdicts.reasons(0, len(verdicts.kept))
    row = rule.to_pylist().index("concepts.most")
    assert limit[row].as_py() == "6"
    assert re.fullmatch(r"(red|blue|square): \d+", value[row].as_py())
    again = judge(evidence, changed.config.policy)
    assert again.kept.tolist() == verdicts.kept.tolist()


def test_whatif_shows_head_and_tail(corpus: Workspace) -> None:
    changed = with_policy(corpus, most=6)
    rows = compare_policies(changed, ("concepts.most=10000",)).concepts
    assert rows["concepts with more than 10000 samples"] == (0, 0, 0)
    total, today, then = rows["square"]
    assert today < then <= total
    strict = with_policy(corpus, most=6, unmatched="reject")
    assert compare_policies(strict).kept == compare_policies(changed).kept  # all name a square


def test_decisions_depend_on_the_content_of_the_list(corpus: Workspace) -> None:
    changed = with_policy(corpus, most=6)
    key = run_keys.decisions(StageContext(changed))
    (corpus.root / "names.txt").write_text("green\n")
    assert run_keys.decisions(StageContext(changed)) != key


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00", b"--\n!!\n"])
def test_a_list_without_names_is_refused(corpus: Workspace, content: bytes) -> None:
    (corpus.root / "names.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"names\.txt"):
        read_concepts(corpus, Concepts(names="names.txt", most=1))


def test_lists_of_names(corpus: Workspace) -> None:
    names = read_concepts(corpus, Concepts(names="imagenet", most=1)).to_pylist()
    assert len(names) > 900
    assert {"tench", "yellow lady s slipper", "hen of the woods"} & set(names)
    (corpus.root / "index.noun").write_text(
        "  1 This software and database is\nhot_dog n 2 1 @ 2 1 0 1\ndog n 7 5 @\n"
    )
    assert read_concepts(corpus, Concepts(names="index.noun", most=1)).to_pylist() == [
        "dog",
        "hot dog",
    ]
    with pytest.raises(NotFoundError, match=r"policy\.concepts\.names"):
        read_concepts(corpus, Concepts(names="nowhere.txt", most=1))


def test_a_wrong_section_is_refused() -> None:
    text = "sources: {a: {path: .}}\npolicy: {concepts: {names: imagenet%s}}\n"
    for extra in ("", ", most: 5, tail: 0.1", ", tail: 1", ", most: 0"):
        with pytest.raises(ConfigError, match="concepts"):
            parse(text % extra)
    parse(text % ", tail: 0.06")
