"""docs/tutorial.ipynb runs from its first cell to its last."""

import json
import os
import sys
from pathlib import Path

import pytest

from store.workspace import Workspace
from tests.helpers.notebook import run_notebook

TUTORIAL = Path(__file__).resolve().parents[1] / "docs" / "tutorial.ipynb"


def shown(cell: dict) -> str:
    return json.dumps(cell["outputs"])


@pytest.mark.slow
def test_the_tutorial_runs(squares: Workspace, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ISOTROPE_CORPUS", str(squares.root))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cells = run_notebook(TUTORIAL)["cells"]
    outputs = [shown(cell) for cell in cells if cell["cell_type"] == "code"]
    assert sum("data:image/jpeg;base64" in output for output in outputs) == 3
    assert "by raw scores" in outputs[3]
    assert "rejected" in outputs[7] or "failed" in outputs[7]
    assert "rejected by image_min_side.min" in outputs[9]
    assert "20 samples" in outputs[12]


def test_the_tutorial_shows_its_results() -> None:
    """`python -m tests.helpers.notebook docs/tutorial.ipynb` stores them."""
    cells = [c for c in json.loads(TUTORIAL.read_text())["cells"] if c["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
