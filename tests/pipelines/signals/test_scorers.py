"""The list of scorers: columns, schema and versions; and a batch with rows that fail."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.signals import registry
from pipelines.signals.scorer import BatchScorer
from pipelines.signals.scorers import audio_speech, image_edits, image_nsfw, text_offensive
from pipelines.signals.scoring import score
from pipelines.stages.scorer_versions import scorer_versions
from store.config.signals import Classifier, Signals
from store.errors import NotFoundError
from store.tables import schema, signals
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG
from tests.helpers.corpus import write_config as configure


def test_scorers_give_the_columns_that_are_declared() -> None:
    names = [n for n, declared in signals.SCORERS.items() if not declared.optional]
    assert [s.name for s in registry.DEFAULT_SCORERS] == names
    given_columns = [c for s in registry.DEFAULT_SCORERS for c in s.gives]
    optional = {"image_nsfw", "audio_speech", "image_aesthetic", "image_watermark", "image_class"}
    optional |= {*image_edits.EDITS.gives, *text_offensive.OFFENSIVE.gives}
    assert len(given_columns) == len(set(given_columns))
    declared_columns = schema.SIGNAL_TYPES.keys() | schema.FINGERPRINT_TYPES.keys()
    assert set(given_columns) == declared_columns - optional
    for scorer in registry.DEFAULT_SCORERS:
        assert set(scorer.reads) <= set(schema.SAMPLES.names)
    others = image_edits.EDITS, image_nsfw.nsfw(None), audio_speech.SPEECH
    for scorer in (*registry.DEFAULT_SCORERS, *others, text_offensive.OFFENSIVE):
        assert scorer.gives == signals.SCORERS[scorer.name].names
    model = Classifier(model="onnx:model.onnx")
    configured = Signals.model_validate({"aesthetic": model, "watermark": model, "class": model})
    assert tuple(configured.classifiers()) == signals.SCORERS["image_classifier"].names


def test_the_schema_of_signals_is_the_one_in_stored_run_keys() -> None:
    digest = hashlib.sha256(schema.key_text(schema.SIGNALS).encode()).hexdigest()
    assert digest == "e0566b1add5b54026a29d07568e40ec0f3644242728b52d12317585fd6835486"


def test_classifiers_are_versioned_by_their_weights(tmp_path: Path) -> None:
    configure(
        tmp_path,
        CONFIG + "signals: {edits: true, nsfw: true, watermark: {model: 'onnx:mark.onnx'}}\n",
    )
    workspace = Workspace.open(tmp_path)
    with pytest.raises(NotFoundError, match=r"signals\.image_watermark\.model"):
        scorer_versions(workspace)
    weights = tmp_path / "mark.onnx"
    versions = []
    for content in (b"one", b"another"):
        weights.write_bytes(content)
        versions.append(scorer_versions(workspace))
    assert versions[0]["image_nsfw"] == "1"
    assert versions[0]["image_watermark"] != versions[1]["image_watermark"]
    names = [s.name for s in registry.active(workspace.config, tmp_path)]
    assert set(names) == set(versions[0])


@given(st.sets(st.integers(0, 40)), st.integers(1, 41))
def test_failing_rows_are_found_by_halving(failing: set[int], rows: int) -> None:
    def score_numbers(batch: pa.RecordBatch):
        numbers = batch["text"].to_pylist()
        if failing & {int(n) for n in numbers}:
            raise RuntimeError("bad")
        return {"text_chars": batch["text"].cast(pa.int32())}

    scorer = BatchScorer("text_length", ("text_chars",), ("text",), score_numbers)
    texts = pa.array([str(n) for n in range(rows)], pa.large_string())
    done = score(pa.record_batch({"text": texts}), [scorer])
    expected = [None if n in failing else n for n in range(rows)]
    assert done.columns["text_chars"].to_pylist() == expected
    assert [row for row, _, _ in done.failed] == sorted(failing & set(range(rows)))
