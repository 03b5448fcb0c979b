"""The policy against the plainest way of writing it down."""

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.policy import apply
from store import schema
from store.config import Rule

_sides = st.none() | st.integers(0, 400)
_aspects = st.none() | st.floats(1, 20, width=32)
_languages = st.none() | st.sampled_from(["en", "de", "fr"])
_rows = st.lists(st.tuples(_sides, _aspects, _languages), max_size=30)
_limit = st.none() | st.integers(0, 400)
_null = st.sampled_from(["keep", "reject"])


@given(_rows, _limit, st.none() | st.floats(1, 20), st.sampled_from([None, ("en",)]), _null)
def test_apply_is_the_plain_rule(rows, least, most, languages, null) -> None:
    policy = {}
    if least is not None or null == "reject":
        policy["image_min_side"] = Rule.model_validate({"min": least, "null": null})
    if most is not None:
        policy["image_aspect"] = Rule(max=most)
    if languages:
        policy["text_language"] = Rule.model_validate({"in": languages})
    decided = apply(policy, _signals(rows)).to_pylist()
    for row, found in zip(rows, decided, strict=True):
        expected = _first_broken(dict(zip(_NAMES, row, strict=True)), policy)
        assert found["rule"] == expected
        assert found["keep"] == (expected is None)


_NAMES = ("image_min_side", "image_aspect", "text_language")


def _first_broken(signals: dict[str, Any], policy: dict[str, Rule]) -> str | None:
    for name, rule in policy.items():
        value = signals[name]
        if value is None:
            if rule.null == "reject":
                return f"{name}.null"
            continue
        if rule.min is not None and value < rule.min:
            return f"{name}.min"
        if rule.max is not None and value > rule.max:
            return f"{name}.max"
        if rule.one_of and value not in rule.one_of:
            return f"{name}.in"
    return None


def _signals(rows: list[tuple]) -> pa.Table:
    filled = [
        {"drop": "d", "id": str(i), **dict(zip(_NAMES, row, strict=True))}
        for i, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(filled, schema=schema.SIGNALS)
