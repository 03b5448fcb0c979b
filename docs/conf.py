"""Configuration of the documentation: README.md, docs/*.md and the API reference in docs/api.

`make docs` builds it. The source folder is the root of the repository, so that README.md is a page
and the relative links between pages are the same here and on GitHub.
"""

import builtins
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import stringify_annotation

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import isotrope  # noqa: E402
from store.config.section import Section  # noqa: E402

project = "isotrope"
version = release = isotrope.__version__
author = copyright = "the isotrope authors"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinxcontrib.mermaid",
]
root_doc = "README"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**",
    "infra/README.md",
    "SECURITY.md",
]
exclude_patterns = [".*", "build", "demo"]  # not searched for pages
templates_path = ["_templates"]

html_theme = "furo"
html_title = "isotrope"
html_additional_pages = {"index": "index.html"}  # leads to README.html
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 3  # links to headings, such as page.md#heading, as on GitHub
myst_fence_as_directive = ["mermaid"]

default_role = "code"  # docstrings write code in single backticks
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_mock_imports = ["duckdb"]  # it prints warnings when the process ends
autosummary_generate = False

# References that pages and docstrings write must lead somewhere, such as the errors of `Raises:`.
# Types in signatures need not: those of other packages and internal ones have no link, and the
# build needs no network.
nitpicky = True
nitpick_ignore_regex = [("py:(class|obj|data)", ".*")]
nitpick_ignore = [("py:exc", name) for name in dir(builtins)]

_CONTENTS = """
```{toctree}
:hidden:
:caption: Guide

docs/demo
docs/first_hour
docs/corpus
docs/alignment
docs/commands
docs/python
docs/architecture
docs/sources
docs/search
docs/corrections
docs/curation
docs/duplicates
docs/guarantees
docs/operations
infra/README
docs/local
docs/server
docs/explorer
CONTRIBUTING
SECURITY
CHANGELOG
```

```{toctree}
:hidden:
:caption: Measurements

docs/gain
docs/retrieval
docs/speed
docs/scale
docs/pool
```

```{toctree}
:hidden:
:caption: API

docs/api/isotrope
docs/api/corpus_yaml
docs/api/encoder
docs/api/errors
docs/api/store
docs/api/embedders
docs/api/pipelines
docs/api/assets
docs/api/orchestration
```
"""


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the table of contents to README.md, where GitHub would show it as text."""
    if docname == app.config.root_doc:
        source[0] += _CONTENTS


class Layer(SphinxDirective):
    """`.. layer:: store` lists the modules of a layer by folder, with their first lines."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        text = ""
        for folder, modules in _folders(ROOT / self.arguments[0]):
            title = f"{folder.relative_to(ROOT)}/"
            text += f"{title}\n{'-' * len(title)}\n\n.. autosummary::\n\n"
            text += "".join(f"   {module}\n" for module in modules) + "\n"
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _folders(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folders of a package, each with the names of its modules."""
    files = sorted(f for f in folder.glob("*.py") if not f.stem.startswith("__"))
    if files:
        yield folder, [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            yield from _folders(child)


def section_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, None] | None:
    """The signature of a section of corpus.yaml: its keys with types and defaults.

    The signature that pydantic makes also shows validators, and all defaults of nested sections.
    """
    if what != "class" or not issubclass(obj, Section):
        return None
    types = get_type_hints(obj)  # without `Annotated`
    keys = []
    for key, field in obj.model_fields.items():
        text = f"{key}: {stringify_annotation(types[key], 'smart')}"
        if not field.is_required():
            default = field.get_default(call_default_factory=True)
            nested = isinstance(default, Section)
            text += f" = {type(default).__name__}(...)" if nested else f" = {default!r}"
        keys.append(text)
    return f"(*, {', '.join(keys)})", None


def setup(app: Sphinx) -> None:
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # as docstrings say, not "Variables"
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-signature", section_signature)
    app.add_directive("layer", Layer)
