"""The policy against a naive reference: row by row, in plain Python."""

import math
import random
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.policy import duplicate_index, quotas, ranked_scores, signal_columns
from pipelines.policy.column_files import ColumnFiles, Columns
from pipelines.policy.draws import draw_numbers
from pipelines.policy.duplicate_rules import DuplicateRules
from pipelines.policy.judge import Evidence, judge
from pipelines.policy.row_rules import hash_of_tests, policy_hash, prefilter, row_tests
from pipelines.policy.signal_columns import take_rows
from store import identity
from store.config import presets
from store.config.corpus_yaml import parse
from store.config.policy import Policy, Rule
from store.errors import ConfigError, InvariantError
from store.tables import schema

_COLUMNS = {
    "image_min_side": pa.int32(),
    "image_aesthetic": pa.float32(),
    "audio_seconds": pa.float64(),
    "text_language": pa.dictionary(pa.int32(), pa.string()),
    "text_image_cosine": pa.float32(),
    "image_cluster": pa.int32(),
}
_VALUES = {
    "image_min_side": st.none() | st.integers(0, 4).map(lambda n: 100 * n),
    "image_aesthetic": st.none() | st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0, math.nan]),
    "audio_seconds": st.none() | st.sampled_from([0.1, 0.25, 3.0]),
    "text_language": st.none() | st.sampled_from(["en", "de", "fr"]),
    "text_image_cosine": st.none() | st.sampled_from([0.125, 0.25, 0.5]),
    "image_cluster": st.none() | st.integers(0, 2),
}
_RULES = {
    "image_min_side": {"min": 100},
    "image_aesthetic": {"max": 1.0},
    "text_language": {"in": ["en", "de"]},
    "text_image_cosine": {"min": 0.25, "made_for": "any"},
}
_GROUPS = st.none() | st.sampled_from(["drop", "text_language", "image_cluster"])
_SHARES = st.sampled_from([0.1, 0.3, 0.5, 0.7, 1.0])


def _id(number: int) -> str:
    # Some ids have the same first half, so that halves do not distinguish them.
    first, second = (identity.part_id("text", str(n).encode()) for n in (number // 5, number))
    return (first if number % 5 < 2 else second)[:16] + second[16:]


@st.composite
def _samples(draw: Any) -> list[dict[str, Any]]:
    """Samples, each in one drop or in two."""
    samples = []
    for number in range(draw(st.integers(0, 14))):
        row = {name: draw(values) for name, values in _VALUES.items()}
        for drop in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True)):
            samples.append({"drop": drop, "id": _id(number), **row})
    return samples


@st.composite
def _policies(draw: Any) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(list(_VALUES)[:5]), max_size=4, unique=True)):
        rule: dict[str, Any] = draw(st.sampled_from([{}, _RULES.get(name, {})])).copy()
        rule |= draw(st.sampled_from([{}, {"null": "reject"}]))
        if name != "text_language":
            kept = draw(st.sampled_from([None, "keep_top", "keep_bottom"]))
            rule |= {kept: draw(_SHARES), "by": draw(_GROUPS)} if kept else {}
        if set(rule) - {"made_for"}:
            written[name] = rule
    if draw(st.booleans()):
        by = draw(st.lists(_GROUPS.filter(bool), min_size=1, max_size=2, unique=True))
        rankings = st.sampled_from(["largest", "smallest"])
        best = draw(st.sampled_from([{}, {draw(rankings): "image_aesthetic"}]))
        written["caps"] = [{"by": b, "most": draw(st.integers(1, 3)), **best} for b in by]
    if draw(st.booleans()):
        size = draw(st.sampled_from([{"share": draw(_SHARES)}, {"count": 2}]))
        written["sample"] = {**size, "by": draw(_GROUPS), "seed": draw(st.integers(0, 2))}
    order = draw(st.permutations(list(written)))
    return {name: written[name] for name in order}


@st.composite
def _duplicates(draw: Any, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of lost samples: to another sample, to a copy, or to an evaluation sample, or none."""
    rows = []
    for sample in samples:
        kind = draw(st.sampled_from([None, None, "exact", "image", "evaluation:test"]))
        if kind is not None:
            other = draw(st.sampled_from(samples))["id"]
            cluster = {"exact": sample["id"], "image": other}.get(kind, "a key")
            rows.append(
                {"drop": sample["drop"], "id": sample["id"], "cluster": cluster, "kind": kind}
            )
    return rows


@settings(max_examples=150)
@given(st.data())
def test_the_three_phases_agree_with_the_reference(data: Any) -> None:
    samples = data.draw(_samples())
    duplicates = data.draw(_duplicates(samples))
    written = data.draw(_policies())
    expected = _reference(samples, duplicates, written)
    assert _judge(samples, duplicates, written) == expected
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        # Columns in files, and blocks of few rows, give the same decisions.
        patch.setattr(quotas, "_BLOCK", 3)
        patch.setattr(quotas, "_MOST_TIED", 1)
        patch.setattr(ranked_scores, "_GROUPS", 2)
        patch.setattr(signal_columns, "_SPAN", 4)
        assert _judge(samples, duplicates, written, Path(folder)) == expected
    shuffled, shuffled_duplicates = samples.copy(), duplicates.copy()
    random.Random(data.draw(st.integers(0, 9))).shuffle(shuffled)
    random.Random(1).shuffle(shuffled_duplicates)
    # Rows and drops in another order give the same decisions.
    assert _judge(shuffled, shuffled_duplicates, written) == expected


def _judge(
    samples: list, duplicates: list, written: dict, folder: Path | None = None
) -> dict[tuple, str | None]:
    """The rule of each sample by drop and id, from the pipeline; counts and reasons are checked."""
    policy = Policy.model_validate(written)
    table: Columns = _table(samples)
    if folder is not None:
        table = _in_files(_table(samples), folder)
    names = ["drop", "id", "cluster", "kind"]
    lost = pa.Table.from_pylist(duplicates, schema=pa.schema([(n, pa.string()) for n in names]))
    representatives = pa.table(
        {
            "cluster": pa.array([s["id"] for s in samples], pa.string()),
            "drop": pa.array([s["drop"] for s in samples], pa.string()),
        }
    )
    verdicts = judge(_evidence(table, lost, representatives), policy)
    rules, values, thresholds = (c.to_pylist() for c in verdicts.reasons(0, len(samples)))
    assert verdicts.counts() == Counter(r for r in rules if r is not None)
    for kept, rule, value, threshold in zip(verdicts.kept, rules, values, thresholds, strict=True):
        assert kept == (rule is None)
        if rule is not None and not rule.startswith(("duplicate.exact", "decontamination")):
            assert threshold is not None
            assert value is not None or rule.startswith(("caps", *_VALUES))
    return {(s["drop"], s["id"]): rule for s, rule in zip(samples, rules, strict=True)}


def _in_files(table: pa.Table, folder: Path) -> ColumnFiles:
    types = [pa.string() if pa.types.is_dictionary(t) else t for t in table.schema.types]
    columns = pa.schema(zip(table.column_names, types, strict=True))
    return ColumnFiles(folder, table.cast(columns).to_batches(max_chunksize=2), columns)


def _evidence(table: Columns, lost: pa.Table, representatives: pa.Table) -> Evidence:
    rules = DuplicateRules(
        duplicate_index.build_index(lost, table),
        lambda: lost,
        lambda: representatives,
        {"image": 31},
    )
    return Evidence(table, rules, lambda rows: take_rows(table["id"], rows))


def _table(samples: list) -> pa.Table:
    types = {"drop": pa.dictionary(pa.int32(), pa.string()), "id": identity.PACKED, **_COLUMNS}
    packed = [{**s, "id": bytes.fromhex(s["id"])} for s in samples]
    return pa.Table.from_pylist(packed, schema=pa.schema(list(types.items())))


def _reference(samples: list, duplicates: list, written: dict) -> dict[tuple, str | None]:
    rules = {n: r for n, r in written.items() if n not in ("caps", "sample")}
    first = [n for n in rules if n in schema.SIGNAL_TYPES]
    order = first + [n for n in rules if n not in first]
    rule_of = {
        (s["drop"], s["id"]): _first_broken(s, {n: rules[n] for n in order}) for s in samples
    }
    eligible = {i for (_, i), rule in rule_of.items() if rule is None}
    for row in duplicates:
        key, kind = (row["drop"], row["id"]), row["kind"]
        if rule_of[key] is None:
            if kind == "exact" or (kind == "image" and row["cluster"] in eligible):
                rule_of[key] = f"duplicate.{kind}"
            elif kind.startswith("evaluation:"):
                rule_of[key] = "decontamination.test"
    for name, settings_ in written.items():
        if name == "caps":
            for cap in settings_:
                signal = cap.get("largest") or cap.get("smallest")
                sign = -1 if cap.get("largest") else 1
                _keep(samples, rule_of, f"caps.{cap['by']}", cap, signal, sign, cap["by"])
        elif name == "sample":
            _keep(
                samples,
                rule_of,
                f"sample.{'share' if 'share' in settings_ else 'count'}",
                settings_,
            )
        else:
            for operator, sign in (("keep_top", -1), ("keep_bottom", 1)):
                if operator in settings_:
                    size = {"share": settings_[operator], "by": settings_["by"]}
                    _keep(samples, rule_of, f"{name}.{operator}", size, name, sign, name)
    return rule_of


def _first_broken(sample: dict[str, Any], rules: dict[str, dict]) -> str | None:
    for name, rule in rules.items():
        value = sample[name]
        if value is None or value != value:
            if rule.get("null") == "reject":
                return f"{name}.null"
            continue
        if "min" in rule and value < rule["min"]:
            return f"{name}.min"
        if "max" in rule and value > rule["max"]:
            return f"{name}.max"
        if "in" in rule and value not in rule["in"]:
            return f"{name}.in"
    return None


def _keep(
    samples: list,
    rule_of: dict,
    name: str,
    quota: dict,
    signal: str | None = None,
    sign: int = 1,
    required: str | None = None,
) -> None:
    groups = defaultdict(list)
    salt = int(identity.run_key(name, quota.get("seed", 0))[:16], 16)
    for s in samples:
        key = s["drop"], s["id"]
        is_spared = required is not None and (s[required] is None or s[required] != s[required])
        if rule_of[key] is None and not is_spared:
            value = _number(s["id"], salt) if signal is None else s[signal]
            missing = value is None or value != value
            rank = (missing, 0 if missing else sign * value, s["id"], s["drop"])
            groups[s[quota["by"]] if quota.get("by") else None].append((rank, key))
    for members in groups.values():
        size = quota.get("most") or quota.get("count")
        size = size or math.ceil(round(quota["share"] * len(members), 6))
        for _, key in sorted(members)[size:]:
            rule_of[key] = name


def _number(identity_: str, salt: int) -> int:
    z = ((int(identity_[:16], 16) ^ salt) + int(identity_[16:], 16)) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return max(1, (z ^ (z >> 31)) >> 32)


def test_drawn_numbers_are_uniform_and_uncorrelated() -> None:
    text = pa.array([_id(n) for n in range(5000)])
    ids = identity.id_words(identity.pack_ids(text))
    assert identity.unpack_ids(identity.pack_ids(text.slice(7, 20))).equals(text.slice(7, 20))
    one, other = draw_numbers(ids, 1) / 2**32, draw_numbers(ids, 2) / 2**32
    assert abs(one.mean() - 0.5) < 0.02
    assert abs(np.histogram(one, 10, (0, 1))[0] - 500).max() < 120
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.06
    for bad in ("short", "x" * 32, None):
        with pytest.raises(InvariantError, match="32 hex characters"):
            identity.pack_ids(pa.array([_id(1), bad]))


def test_the_threshold_of_a_quota_names_the_group() -> None:
    values = {"en": [1.0, 2.0, 3.0, 4.0], "de": [10.0, 20.0]}
    samples = [
        {"drop": "a", "id": _id(n), "text_language": language, "image_aesthetic": value}
        for n, (language, value) in enumerate((g, v) for g, group in values.items() for v in group)
    ]
    reasons = _reasons(samples, {"image_aesthetic": {"keep_top": 0.5, "by": "text_language"}})
    assert reasons[0] == ("image_aesthetic.keep_top", "1", "3 of en")
    assert reasons[4] == ("image_aesthetic.keep_top", "10", "20 of de")
    ((rule, value, threshold),) = set(
        _reasons(samples[:2], {"caps": [{"by": "text_language", "most": 1}]})
    ) - {(None, None, None)}
    assert rule == "caps.text_language"
    limit, _, group = threshold.partition(" of ")
    assert float(value) > float(limit)
    assert group == "en"


def _reasons(samples: list, written: dict) -> list[tuple]:
    table = _table(samples)
    none = pa.table({n: pa.array([], pa.string()) for n in ("drop", "id", "cluster", "kind")})
    policy = Policy.model_validate(written)
    verdicts = judge(_evidence(table, none, none), policy)
    return list(zip(*(c.to_pylist() for c in verdicts.reasons(0, len(samples))), strict=True))


def test_hashes_change_only_with_what_they_are_of() -> None:
    base = {"image_min_side": {"min": 100}, "text_image_cosine": {"min": 0.2, "made_for": "any"}}
    policy = Policy.model_validate(base)

    def same(changed: dict) -> tuple[bool, bool, bool]:
        other = Policy.model_validate(changed)
        return (
            hash_of_tests(prefilter(other)) == hash_of_tests(prefilter(policy)),
            hash_of_tests(row_tests(other)) == hash_of_tests(row_tests(policy)),
            policy_hash(other) == policy_hash(policy),
        )

    assert same(base) == (True, True, True)
    for selection in (
        {"image_aesthetic": {"keep_top": 0.5}},
        {"caps": [{"by": "drop", "most": 3}]},
        {"sample": {"share": 0.5}},
        {"image_min_side": {"min": 100, "keep_top": 0.5}},
    ):
        assert same(base | selection) == (True, True, False)
    pair = {"text_image_cosine": {"min": 0.3, "made_for": "any"}}
    assert same(base | pair) == (True, False, False)
    assert same(base | {"image_min_side": {"min": 101}}) == (False, False, False)


_SPACE = "sources: {a: {path: x}}\nspace: clip\nspaces:\n  clip: {image: %s, text: %s}\n"
_B32 = '"open_clip:ViT-B-32/laion2b_s34b_b79k"'


def test_a_threshold_of_another_space_is_refused() -> None:
    rule = "policy:\n  text_image_cosine: {min: 0.28%s}\n"
    with_source = rule % ", made_for: 'open_clip:ViT-B-32'"
    assert parse(_SPACE % (_B32, _B32) + with_source).policy.rules["text_image_cosine"].min == 0.28
    other = '"open_clip:ViT-B-32-256/datacomp_s34b_b86k"'  # another model than 'ViT-B-32'
    for towers in ((_B32, other), (_B32, "{encoder: 'timm:x', aligned_by: image}")):
        with pytest.raises(ConfigError, match=r"space is 'clip'.*made_for: clip, or use keep_top"):
            parse(_SPACE % towers + with_source)
    with pytest.raises(ConfigError, match="does not say what it was made for"):
        parse(_SPACE % (_B32, _B32) + rule % "")
    with pytest.raises(ConfigError, match=r"image by local"):
        parse("sources: {a: {path: x}}\n" + with_source)
    for allowed in (rule % ", made_for: clip", "policy: {text_image_cosine: {keep_top: 0.3}}"):
        parse(_SPACE % (_B32, other) + allowed)
    parse("sources: {a: {path: x}}\npolicy: {text_image_rank: {max: 0.1}}")


@pytest.mark.parametrize("name", presets.names())
def test_presets_are_policies_with_their_source_named(name: str) -> None:
    policy = parse(_SPACE % (_B32, _B32) + f"policy: {{preset: {name}}}").policy
    assert policy.rules
    assert "arXiv:" in presets.text(name)
    assert "Not covered:" in presets.text(name)
    if name == "laion5b":
        with pytest.raises(ConfigError, match="open_clip:ViT-B-32"):
            parse("sources: {a: {path: x}}\npolicy: {preset: laion5b}")
    else:
        parse(f"sources: {{a: {{path: x}}}}\npolicy: {{preset: {name}}}")


def test_rules_override_presets() -> None:
    text = (
        "sources: {a: {path: x}}\npolicy:\n  preset: [datacomp-basic, datacomp-clip]\n"
        "  image_min_side: {min: 64}\n  text_language: null\n  audio_snr: {min: 10}\n"
    )
    policy = parse(text).policy
    assert policy.rules["image_min_side"] == Rule(min=64, null="reject")
    assert "text_language" not in policy.rules
    assert list(policy.rules)[-2:] == ["text_image_cosine", "audio_snr"]
    again = parse("sources: {a: {path: x}}\npolicy: " + str(policy.written())).policy
    assert policy_hash(again) == policy_hash(policy)  # the written form gives the same policy
    with pytest.raises(ConfigError, match="no preset 'laion6b'; allowed: audio-clean, datacomp"):
        parse("sources: {a: {path: x}}\npolicy: {preset: laion6b}")
