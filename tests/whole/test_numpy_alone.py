"""The corrections in a new environment with isotrope's wheel and its base dependencies alone."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
import isotrope, numpy as np
rng = np.random.default_rng(0)
core = rng.normal(size=(80, 16))
gallery, queries = core + 0.3 * rng.normal(size=(2, 80, 16))
best = isotrope.select(
    gallery=gallery, query_bank=queries, gallery_bank=gallery, queries=queries,
    relevant=np.arange(80),
)
isotrope.evaluate(best.correction, queries, np.arange(80)).show()
c = isotrope.fit("centered+sinkhorn", gallery=gallery, query_bank=queries, gallery_bank=gallery)
assert c.rank(queries, 5)[0].shape == (80, 5)
for extra, use in {
    "client": lambda: isotrope.connect("data"),
    "client ": lambda: isotrope.Corpus,
    "sklearn": lambda: isotrope.CorrectedNeighbors,
}.items():
    try:
        use()
    except isotrope.errors.MissingPackageError as error:
        assert f"isotrope[{extra.strip()}]" in str(error), error
    else:
        raise SystemExit(f"{extra} is not missing")
third = {m.split(".")[0] for m in sys.modules if "site-packages" in str(
    getattr(sys.modules[m], "__file__", ""))}
print(sorted(third - {"isotrope", "store", "embedders", "pipelines", "assets", "orchestration"}))
"""


def run(*command: object, **options) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_numpy_and_threadpoolctl_are_enough(tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    run(uv, "build", "--wheel", "--out-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("isotrope-*.whl")
    python = tmp_path / "new" / "bin" / "python"
    run(uv, "venv", tmp_path / "new", "--python", sys.executable)
    run(uv, "pip", "install", "--python", python, wheel)
    installed = run(uv, "pip", "list", "--python", python, "--format", "freeze").split()
    assert {line.split("==")[0] for line in installed} == {"isotrope", "numpy", "threadpoolctl"}
    output = run(python, "-c", SCRIPT, cwd=tmp_path)
    assert "inductive: 80 queries, 80 items" in output
    assert output.splitlines()[-1] == "['numpy', 'threadpoolctl']"
    failed = subprocess.run(
        [python.with_name("isotrope"), "--help"], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert "pip install 'isotrope[client]'" in failed.stderr
    assert "Traceback" not in failed.stderr
