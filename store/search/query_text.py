"""A query as text, for people and logs."""

from typing import Any

from store.search.query_json import COLUMNS, OPTIONS


def query_text(query: Any) -> str:
    """The calls that make the query, with inputs in short form."""
    first = " + ".join(map(str, query.inputs[0])).replace("+ -", "- ")
    more = f" and {len(query.inputs) - 1} more queries" if query.is_batch else ""
    params = "".join(f", {name}={value}" for name, value in query.params)
    words = [f"search({first}{more})", f"among({query.gallery})"]
    words += [f"correct({query.method}{params})"] if query.method != "auto" else []
    words += [f"where({query.condition})"] if query.condition else []
    words += [f"select({', '.join(query.columns)})"] if query.columns != COLUMNS else []
    for name, attribute in OPTIONS.items():
        value = getattr(query, attribute)
        word = "range" if name == "min_score" else name
        if isinstance(value, int | float) and (value or word == "range"):
            words.append(f"{word}({value:g})")
    if query.full_text is not None:
        text = "" if query.full_text.text is None else f"{query.full_text.text[:80]!r}, "
        words.append(f"hybrid({text}weight={query.full_text.weight:g})")
    return ".".join(words)
