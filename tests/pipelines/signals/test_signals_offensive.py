"""Offensive texts: the packaged model, on captions that a person labelled."""

import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.signals import registry
from pipelines.signals.scorers import text_flagged, text_offensive
from pipelines.stages import staleness
from pipelines.stages.scorer_versions import scorer_versions
from store.config.corpus_yaml import parse
from store.errors import EncoderError
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.stages import curate

LIST = Path(__file__).parents[2] / "data" / "offensive_captions.tsv"


def measure(*texts: str | None) -> list[float | None]:
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    return text_offensive.score(batch)["text_offensive"].to_pylist()


def test_insults_without_a_word_of_a_list_are_found() -> None:
    rows = [line.split("\t") for line in LIST.read_text(encoding="utf-8").splitlines()]
    offensive, harmless = ([t for label, t in rows if label == wanted] for wanted in "10")
    found = [value >= 0.9 for value in measure(*offensive)]
    words = [text_flagged.flagged(text) > 0 for text in offensive]
    assert sum(found) > 2 * sum(words)
    wrong = sum(value >= 0.9 for value in measure(*harmless))
    assert wrong < sum(text_flagged.flagged(text) > 0 for text in harmless)


def test_texts_that_are_missing_have_none() -> None:
    assert measure() == []
    assert measure(None, None) == [None, None]
    harmless, missing, insult = measure("a plate of soup", None, "what a bunch of fucking idiots")
    assert missing is None
    assert harmless < 0.1 < 0.9 < insult


@settings(max_examples=50)
@given(st.lists(st.none() | st.text(max_size=200), max_size=5))
def test_any_text_has_a_probability(texts: list[str | None]) -> None:
    for text, value in zip(texts, measure(*texts), strict=True):
        assert (value is None) == (text is None)
        assert value is None or 0 <= value <= 1


def test_it_is_measured_where_it_is_turned_on(tmp_path: Path) -> None:
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "first", 4)
    assert "text_offensive" not in scorer_versions(curate(tmp_path))
    text = CONFIG.replace("policy:", "policy:\n  text_offensive: {max: 0.9}")
    write_config(tmp_path, text + "signals: {offensive: true}\n")
    workspace = Workspace.open(tmp_path)
    (drop,) = staleness.drops(workspace).values()
    assert "signals" in staleness.stale(workspace, drop)
    curate(tmp_path)
    rows = workspace.tables.scan("signals", schema.SIGNALS, ["text_offensive"])
    assert all(0 <= value <= 1 for value in rows["text_offensive"].to_pylist())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    text_offensive.packaged_model.cache_clear()
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(EncoderError, match=r"pip install 'isotrope\[offensive\]'"):
        registry.check_packages(parse(CONFIG + "signals: {offensive: true}\n"))
    monkeypatch.undo()
    text_offensive.packaged_model.cache_clear()
