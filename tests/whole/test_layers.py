"""The house: imports run down only, and a query client stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ["store", "embedders", "pipelines", "assets", "orchestration"]
HEAVY = {"ray", "apache_beam", "dagster", "torch"}


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_run_down(floor: str) -> None:
    above = set(FLOORS[FLOORS.index(floor) + 1 :])
    for path in sorted((ROOT / floor).rglob("*.py")):
        assert not imported(path) & above, f"{path.relative_to(ROOT)} imports from a floor above"


def test_the_store_is_light() -> None:
    for path in sorted((ROOT / "store").rglob("*.py")):
        assert not imported(path) & HEAVY, path.relative_to(ROOT)


def test_importing_isotrope_loads_no_engine() -> None:
    code = f"import isotrope, sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_package_that_shadows_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "__init__.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import isotrope"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "isotrope needs its own package 'assets'" in done.stderr


def test_files_fit_in_the_head() -> None:
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*.py")
    }
    assert {name: size for name, size in sizes.items() if size > 300} == {}
