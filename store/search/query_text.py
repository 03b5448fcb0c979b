"""A query as text, for people and logs."""

from typing import Any

from store.search.query_json import COLUMNS, OPTIONS


def query_text(query: Any) -> str:
    """The calls that make the query, with inputs in short form."""
    queries = [" + ".join(map(str, each)).replace("+ -", "- ") for each in query.inputs]
    start = f"search({queries[0]})"
    if query.is_batch:
        start = f"search({queries[0]} and {len(queries) - 1} more queries)"
    if query.compound is not None:
        start = query.compound.text([f"search({each})" for each in queries])
    params = "".join(f", {name}={value}" for name, value in query.params)
    words = [start, f"among({query.gallery})"]
    words += [f"correct({query.method}{params})"] if query.method != "auto" else []
    words += [f"where({query.condition})"] if query.condition else []
    words += [f"select({', '.join(query.columns)})"] if query.columns != COLUMNS else []
    for name, attribute in OPTIONS.items():
        value = getattr(query, attribute)
        word = "range" if name == "min_score" else name
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (value or word == "range"):
            words.append(f"{word}({value:g})")
    words += [f"route({query.path})"] if query.path != "direct" else []
    words += [f"combine({query.combination})"] if query.combination != "sum" else []
    words += [f"aggregate({query.aggregation})"] if query.aggregation != "max" else []
    if query.expansion is not None:
        words.append(f"expand({query.expansion.hops}, {query.expansion.alpha:g})")
    if query.interaction is not None:
        words.append(f"late({query.interaction.depth}, {query.interaction.weight:g})")
    words += ["moments()"] if query.in_moments else []
    if query.full_text is not None:
        text = "" if query.full_text.text is None else f"{query.full_text.text[:80]!r}, "
        given = query.full_text.item_words
        by_words = "" if given is None else f", words={given}"
        words.append(f"hybrid({text}weight={query.full_text.weight:g}{by_words})")
    return ".".join(words)
