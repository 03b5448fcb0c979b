"""What notebooks show of hits, explanations, releases, policies and evaluations."""

from dataclasses import replace

import numpy as np
import pytest

import isotrope
from pipelines.policy.whatif import Comparison
from store.config.policy import Policy
from store.html_table import MAX_ROWS, html_table
from store.search.cards import MAX_CARDS
from store.workspace import Workspace
from tests.store.test_results import HOSTILE, Page

TAGS = {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}


@pytest.fixture(scope="module")
def corpus(stored: Workspace) -> isotrope.Corpus:
    return isotrope.connect(stored.root)


def page_of(value: object) -> Page:
    return Page(value._repr_html_())  # type: ignore[attr-defined]


def test_a_table_escapes_and_bounds_what_it_shows() -> None:
    html = html_table(HOSTILE, [HOSTILE], [(HOSTILE * 100,)] * (MAX_ROWS + 7))
    page = Page(html)
    assert {tag for tag, _ in page.elements} == TAGS
    assert page.text.count("<script>") >= MAX_ROWS + 2
    assert "... and 7 more" in page.text
    assert len(html) < 60_000


def test_a_hit_shows_its_card(corpus: isotrope.Corpus) -> None:
    query = corpus.search(text="a red square number 15").limit(40)
    result = query.run()
    hits = list(result)
    third = page_of(hits[2])
    assert third.named("img") == [Page(result._repr_html_()).named("img")[2]]
    assert hits[2]["key"] in third.text
    beyond = list(query.among("any").run())[MAX_CARDS]  # the views of results end before it
    assert beyond["key"] in page_of(beyond).text


def test_an_explanation_shows_ranks_and_neighbours(corpus: isotrope.Corpus) -> None:
    (hit,) = corpus.search(text="a red square number 15").limit(1).run()
    explanation = hit.explain()
    text = page_of(explanation).text
    assert "rank 1, by raw scores" in text
    assert explanation.items[0].caption in text
    hostile = page_of(replace(explanation, key=HOSTILE))
    assert {tag for tag, _ in hostile.elements} == TAGS


def test_a_release_shows_its_corrections(corpus: isotrope.Corpus) -> None:
    release = corpus.release
    text = page_of(release).text
    assert f"release {release.number}, space {release.space}" in text
    for name, direction in release.directions.items():
        assert name in text
        assert direction.reason in text
        if "raw" in (figures := release.evaluation.get(name, {})):
            assert f"{figures['raw']['mrr']:.3f}" in text


def test_a_policy_shows_its_steps() -> None:
    policy = Policy.model_validate(
        {"image_min_side": {"min": 64}, "caps": [{"by": "text_language", "most": 9}]}
    )
    text = page_of(policy).text
    assert text.index("image_min_side") < text.index("caps")
    assert "'most': 9" in text


def test_a_changed_policy_shows_what_it_keeps() -> None:
    numbers = {"rejected": {"image_min_side.min": (0, 4)}, "groups": {HOSTILE: (9, 9, 5)}}
    page = page_of(Comparison(9, (9, 5), (0, 0), by="source", **numbers))
    assert "image_min_side.min04" in page.text
    assert "script" not in {tag for tag, _ in page.elements}


def test_an_evaluation_shows_figures_with_intervals() -> None:
    rows = np.eye(8, dtype=np.float32)
    raw = isotrope.fit("none", gallery=rows, query_bank=rows, gallery_bank=rows)
    figures = isotrope.evaluate(raw, rows, np.arange(8))
    text = page_of(figures).text
    assert "inductive: 8 queries, 8 items" in text
    assert "mrr1.0001.000 to 1.000" in text
