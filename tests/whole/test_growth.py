"""The cost of a build does not grow faster than the corpus."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import growth
from store.tables.stages import STAGES


def costs(seconds: float) -> dict[str, dict[str, dict[str, float]]]:
    return {"build": {"samples": {"seconds": seconds, "bytes": 1e6, "mb": 1.0}}}


def test_the_page_has_the_line_through_both_sizes() -> None:
    table, exponent = growth.page({1000: costs(12.0), 10_000: costs(30.0)})
    assert "| samples | 12.0 | 30.0 | 10.0 | 2,000 | 0.40 | 100 | 1 |" in table
    assert exponent == pytest.approx(0.398, abs=1e-3)


@pytest.mark.parametrize(("seconds", "fails"), [(10.0, False), (16.0, True)])
def test_faster_growth_than_the_corpus_fails(
    seconds: float, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {1000: costs(1.0), 10_000: costs(seconds)}
    monkeypatch.setattr(growth, "measure_in_process", lambda samples, *_: results.get(samples))
    monkeypatch.setattr(sys, "argv", ["growth", "--sizes", "1000", "10000", "--build"])
    if fails:
        with pytest.raises(SystemExit, match=r"exponent 1\.20"):
            growth.main()
    else:
        growth.main()


@pytest.mark.slow
def test_a_build_does_not_grow_faster_than_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growth.json"
    options = ["--sizes", "200", "800", "--build", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["growth", *options])
    growth.main()
    results = json.loads(path.read_text())
    assert {"200", "800"} == set(results)
    for result in results.values():
        assert set(STAGES) <= set(result["build"])
