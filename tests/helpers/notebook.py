"""Executes a notebook in this process, without Jupyter.

`python -m tests.helpers.notebook docs/tutorial.ipynb` also stores what the cells show. It handles
what the notebooks of docs/ use: Python statements, printed text, and values with `_repr_html_`.
"""

import ast
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def run_notebook(path: Path) -> dict[str, Any]:
    """Execute all cells of code in order, in one name space.

    Returns:
        The notebook, in the format of its file, with the outputs of the cells.

    Raises:
        Exception: whatever a cell raises, with the number of the cell as a note.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        try:
            cell["outputs"] = _execute("".join(cell["source"]), f"cell {number}", names)
        except Exception as error:
            error.add_note(f"in cell {number} of {path}")
            raise
        for output in cell["outputs"]:
            if output["output_type"] == "execute_result":
                output["execution_count"] = number
        cell["execution_count"] = number
    return notebook


def _execute(source: str, name: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Execute a cell; as in Jupyter, the value of a last expression is shown."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(tree, name, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), names)
    outputs = []
    if text := printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(True)})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(True)}
        if hasattr(value, "_repr_html_"):
            html = value._repr_html_().splitlines(True)
            data = {"text/html": html, "text/plain": [type(value).__name__]}
        outputs.append({"output_type": "execute_result", "metadata": {}, "data": data})
    return outputs


if __name__ == "__main__":
    file = Path(sys.argv[1])
    done = run_notebook(file)
    file.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
