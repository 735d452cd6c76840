"""The documentation site: Sphinx, MyST-NB, pydata's theme. Its notebooks are executed by this very kernel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import generated

import async_kernel

project = "async_kernel"
author = "The async_kernel authors"
project_copyright = author
version = release = async_kernel.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = [
    "_build",
    "_generated/run_modes_table.md",
    "_generated/benchmarks_report.md",
    "**.ipynb_checkpoints",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# The notebooks are executed anew in each build, on the kernelspec that they name: `async`.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 60
# JSON is a tree in JupyterLab; the site shows its text.
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False

default_role = "code"  # what the docstrings quote with single backticks

html_theme = "pydata_sphinx_theme"
html_title = "async_kernel"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_sidebars = {"index": [], "getting_started": [], "profiles": []}

generated.write_all(Path(__file__).parent / "_generated")


def keep_the_first_line(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in an attribute's first line for its type; ours are sentences."""
    if what in ("attribute", "data", "property") and lines:
        lines[:0] = ["..", ""]  # an empty comment


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", keep_the_first_line, priority=400)
