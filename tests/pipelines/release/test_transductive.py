"""The transductive bound is labelled, computed on demand, and printed in eighty columns."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from orchestration.cli import tables
from pipelines.release.evaluate import evaluate_directions
from pipelines.release.transductive import evaluate_transductive
from store import corrections
from store.search.vector_layout import unfold
from store.tables import releases
from store.tables.banks import Banks
from store.tables.releases import Release
from store.workspace import Workspace

NAME, NNN = "text->image", {"alpha": 0.75, "k": 16}


@pytest.fixture
def forced(squares: Workspace) -> Release:
    """The release of `squares` as if nnn had been chosen; it is not published."""
    last = releases.latest_release(squares.tables)
    direction = replace(last.directions[NAME], method="nnn", params=NNN)
    return replace(last, directions={NAME: direction})


def test_the_bank_holds_the_test_queries_and_the_protocol_is_transductive(squares, forced):
    result = evaluate_transductive(squares.tables, forced)[NAME]
    assert result["protocol"] == "transductive"
    stored = forced.evaluation[NAME]
    assert result["raw"] == pytest.approx(stored["raw"])
    assert result["queries"] == stored["queries"]

    banks = Banks(squares.tables.open("banks__colours").to_table())
    rows = squares.tables.open("gallery__colours__image").to_table().sort_by("part_id")
    gallery = unfold(np.stack(rows["vector"].to_numpy(zero_copy_only=False)), forced.dim)
    clusters, parts = (rows[c].to_numpy(zero_copy_only=False) for c in ("cluster", "part_id"))
    bank, bank_ids, _ = banks.part("bank", "text")
    queries, ids, query_parts = banks.part("test", "text")
    items, item_ids, _ = banks.part("bank", "image")
    unseen = ~np.isin(clusters.astype(str), np.concatenate([bank_ids, item_ids]))
    assert result["gallery"] == stored["gallery"] == unseen.sum()
    assert result["left_out"] == stored["left_out"] == (~unseen).sum() > 0
    gallery, clusters, parts = gallery[unseen], clusters[unseen], parts[unseen]
    pairs = banks.pairs("test", "text", "image")
    right = [[i for i, part in enumerate(parts) if part in pairs[p]] for p in query_parts]
    common = {"gallery": gallery, "gallery_bank": items}

    def figures(query_bank, query_bank_ids):
        c = corrections.fit(
            "nnn", **common, query_bank=query_bank, query_bank_ids=query_bank_ids,
            gallery_ids=clusters.astype(str), **NNN,
        )  # fmt: skip
        evaluation = corrections.evaluate(c, queries, right, query_ids=ids)
        return evaluation.figures(), evaluation.protocol

    with_tests = figures(np.concatenate([bank, queries]), np.concatenate([bank_ids, ids]))
    assert with_tests == (pytest.approx(result["corrected"]), "transductive")
    without_tests = figures(bank, bank_ids)
    assert without_tests[1] == "inductive"
    assert without_tests[0] != with_tests[0]


def test_stored_figures_stay_inductive(squares, forced):
    before = releases.list_releases(squares.tables)
    evaluate_transductive(squares.tables, forced)
    assert releases.list_releases(squares.tables) == before
    assert {f["protocol"] for f in forced.evaluation.values()} == {"inductive"}


def test_the_table_fits_eighty_columns(squares, forced, monkeypatch):
    evaluation = evaluate_transductive(squares.tables, forced)
    printed = io.StringIO()
    monkeypatch.setattr(tables, "console", Console(width=80, file=printed))
    tables.print_evaluation(forced, evaluation)
    lines = printed.getvalue().splitlines()
    assert f"{NAME} by nnn, transductive: " in printed.getvalue()
    left_out = evaluation[NAME]["left_out"]
    words = " ".join(printed.getvalue().split())
    assert f"(searched without the {left_out} items of the bank)" in words
    heads = ["raw", "95%", "corrected", "95%", "gain", "95%"]
    start = next(i for i, line in enumerate(lines) if line.split() == heads)
    rows = [line.split() for line in lines[start + 2 : start + 13]]
    assert [row[0] for row in rows][:7] == ["R@1", "R@5", "R@10", "MRR", "mAP", "nDCG@10", "median"]
    result = evaluation[NAME]
    ends = result["intervals"]["corrected"]["map"]
    assert rows[4][3:5] == [
        f"{result['corrected']['map']:.3f}",
        f"{ends['low']:.3f}…{ends['high']:.3f}",
    ]
    assert rows[4][5] == f"{result['gains']['map']['mean']:+.3f}"
    json.dumps(evaluation, allow_nan=False)


def test_directions_without_pairs_are_left_out(squares, forced):
    banks = Banks(squares.tables.open("banks__colours").to_table())
    direction = replace(forced.directions[NAME], query="image", gallery="image").raw("so")
    galleries = {"image": squares.tables.open("gallery__colours__image")}
    assert evaluate_directions(galleries, banks, {"image->image": direction}, forced.dim) == {}
