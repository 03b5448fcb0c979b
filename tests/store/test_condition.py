"""Conditions of strangers: what is allowed means the same to Lance, everything else is refused."""

import contextlib

import lance
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isotrope import errors
from store.search.condition import compile_condition

ROWS = pa.table(
    {
        "key": ["cat-1", "Cat-2", "dog's", None],
        "width": [1, 20, 300, None],
        "share": [0.5, -1.5, None, 2.0],
        "drops": [["first"], ["first", "later"], ["later"], []],
        "kept": [True, False, None, True],
        "Odd name": [1, 2, 3, 4],
    }
)
ALLOWED = [
    ("width >= 20", [1, 2]),
    ("WIDTH < 20 OR width = 300", [0, 2]),
    ("key LIKE 'cat%'", [0]),
    ("key ILIKE 'cat%' AND NOT width = 1", [1]),
    ("key NOT LIKE 'cat%'", [1, 2]),
    ("key = 'dog''s'", [2]),
    ("key IS NULL", [3]),
    ("width IS NOT NULL AND kept IS TRUE", [0]),
    ("width IN (1, 300)", [0, 2]),
    ("width NOT IN (1, 300)", [1]),
    ("width BETWEEN 2 AND 400", [1, 2]),
    ("share > -1e0 AND share <= .5", [0]),
    ("-width / 2 < -100", [2]),
    ("width % 2 = 1 AND (kept OR width > 5)", [0]),
    ("lower(key) = 'cat-2' OR length(key) = 1", [1]),
    ("array_has(drops, 'later')", [1, 2]),
    ("array_contains(drops, 'first') AND starts_with(key, 'cat')", [0]),
    ("contains(key, 'og') OR coalesce(width, 7) = 7", [2, 3]),
    ('"Odd name" > 2', [2, 3]),
    ("`Odd name` > 2 -- a comment", [2, 3]),
    ("abs(share) = 1.5;", [1]),
    ("true", [0, 1, 2, 3]),
]
REFUSED = [
    "", " ", "--", "1=1; drop table samples", "; width = 1", "width = 1 width", "width >",
    "repeat('a', 200000000) = key", "key || key = 'x'", "lpad(key, 2000000000) = 'x'",
    "secret = 1", '"no" = 1', "t.width = 1", "width = (select 1)", "width in (select 1)",
    "exists(select 1)", "select 1", "drop table samples", "*", "width, key", "width as x",
    "count(*) > 1", "sum(width) over () > 1", "case when kept then true end", "width::int = 1",
    "cast(width as text) = '1'", "key like 'a' escape '!'", "width in ()", "@x = 1", ":x = 1",
    "? = 1", "$1 = width", "x'ff' = key", "key = 'a", "width = 1 /* open", "lower(distinct key)",
    "contains(key, b => 1)", "drops[0] = 'a'", "key ~ 'a'", "regexp_like(key, '(a+)+$')",
    "random() > 0", "width = 1e999", "width = " + "9" * 60, "(" * 100 + "1=1" + ")" * 100,
    "not " * 2000 + "kept", "-" * 3000 + "1 = width", " or ".join(["width = 1"] * 500),
    "width" + " + 1" * 1000 + " = 1", "version() = 'x'", "key collate nocase = 'x'",
]  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> lance.LanceDataset:
    return lance.write_dataset(ROWS, tmp_path_factory.mktemp("condition") / "t.lance")


@pytest.mark.parametrize(("condition", "expected"), ALLOWED)
def test_allowed_conditions_mean_the_same_to_lance(table, condition: str, expected) -> None:
    sql = compile_condition(condition, ROWS.column_names)
    rows = table.to_table(filter=sql, columns=["Odd name"])
    assert [n - 1 for n in rows["Odd name"].to_pylist()] == expected


@pytest.mark.parametrize("condition", REFUSED, ids=lambda c: c[:30])
def test_everything_else_is_refused(condition: str) -> None:
    with pytest.raises(errors.InputError, match="columns: key, width"):
        compile_condition(condition, ROWS.column_names)


WORDS = st.sampled_from([
    "key", "width", "share", "drops", "kept", "=", "<", ">", "<>", "(", ")", ",", "1", "2.5", "'a'",
    "''", '"', ";", "AND", "OR", "NOT", "IN", "NULL", "IS", "LIKE", "BETWEEN", "lower(", "--", "+",
    "array_has(", "-", "*", "/", "%", "true", "select", "from", "case", "`", "[", "]", "||", "~",
])  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, min_size=1, max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_is_a_condition_or_a_typed_error(table, condition: str) -> None:
    try:
        sql = compile_condition(condition, ROWS.column_names)
    except errors.InputError:
        return
    with contextlib.suppress(ValueError, OSError, RuntimeError):  # types that do not fit
        table.to_table(filter=sql)
