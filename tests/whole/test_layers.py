"""The rules of the layout that import-linter's contracts in pyproject.toml cannot state."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from store.tables.stages import STAGES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["store", "embedders", "pipelines", "assets", "orchestration"]
HEAVY = {"ray", "apache_beam", "dagster", "torch"}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FILES.append(ROOT / "isotrope.py")
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

# Files named `__init__.py` that hold more than a docstring: two set the environment up before
# Lance and Beam are imported, two are the public names of their folders.
WITH_CODE = {
    "store/__init__.py",
    "pipelines/__init__.py",
    "store/corrections/__init__.py",
    "store/metrics/__init__.py",
}
TABLE_PREFIXES = (
    *("banks__", "concepts__", "directions__", "drift__", "features__"),
    *("gallery__", "moment_vectors__", "moments__", "pair_draws__", "pairs__", "query_log__"),
    *("tallies__", "tokens__"),
    *("translations__", "vectors__", "words__"),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def imported_modules(tree: ast.Module) -> set[str]:
    """The project's modules that a file imports, also in functions and for type checking only."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {member if member in MODULES else str(node.module) for member in members}
    return names & MODULES.keys()


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: imported_modules(tree) for module, tree in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imported by ".join(error.args[1]))


def test_isotrope_is_the_top_of_the_client() -> None:
    packages = {name.partition(".")[0] for name in imported_modules(MODULES["isotrope"])}
    assert packages == {"store", "embedders"}
    users = {name for name, tree in MODULES.items() if "isotrope" in imported_modules(tree)}
    assert {name.partition(".")[0] for name in users} == {"orchestration"}


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


def test_pipelines_holds_only_folders() -> None:
    assert [path.name for path in (ROOT / "pipelines").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_folder_with_a_module_stage(stage: str) -> None:
    assert (ROOT / "pipelines" / stage / "stage.py").is_file()


def test_an_init_file_is_only_a_docstring() -> None:
    with_code = {
        name
        for name, path in zip(NAMES, FILES, strict=True)
        if path.name == "__init__.py"
        and [type(node) for node in MODULES[module_name(path)].body] != [ast.Expr]
    }
    assert with_code == WITH_CODE


def test_table_names_are_spelled_in_one_module() -> None:
    spelled = {
        f"{module}:{node.lineno}"
        for module, tree in MODULES.items()
        for node in code_strings(tree)
        if module != "store.tables.names" and any(p in str(node.value) for p in TABLE_PREFIXES)
    }
    assert spelled == set()


def code_strings(tree: ast.Module) -> list[ast.Constant]:
    """String constants, parts of f-strings included, without docstrings."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    ]


def test_files_are_short() -> None:
    sizes = {
        name: len(path.read_text(encoding="utf-8").splitlines())
        for name, path in zip(NAMES, FILES, strict=True)
    }
    assert {name: size for name, size in sizes.items() if size > 300} == {}
