"""From what the user typed to Python: IPython's transformations, left out where they can't change anything.

IPython tokenizes every cell in Python to find its own syntax in it. None of that syntax is valid Python, with two
exceptions, so text that Python can parse needs only those two: prompts that were pasted along, and names at the start
of a single line that stand for a call (`ls`, `exit`).
"""

from __future__ import annotations

import ast
import re
from typing import Any, Final

from IPython.core.autocall import IPyAutocall
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.macro import Macro
from IPython.core.prefilter import _default_checkers  # pyright: ignore[reportPrivateUsage]

__all__ = ["parse_plain", "transform"]

_PROMPT: Final = re.compile(r"(?:.*\n)?\s*(?:>>>|\.\.\.|In ?\[)")
"A prompt in the first or second line: IPython looks there."
_FIRST_NAME: Final = re.compile(r"\s*([^\W\d][\w.]*)")
_STOCK: Final = TransformerManager()


def transform(shell: Any, raw: str) -> tuple[str, ast.Module | None]:
    """The Python text of a cell, and its tree where it was parsed on the way.

    Raises:
        SyntaxError: A transformation refuses the text.
    """
    plain = parse_plain(shell, raw)
    if plain is not None:
        return plain
    return shell.transform_cell(raw), None


def parse_plain(shell: Any, raw: str) -> tuple[str, ast.Module | None] | None:
    """What `transform` returns for a cell of plain Python; None where all of IPython's transformations are needed."""
    manager = shell.input_transformer_manager
    if (
        raw[:1].isspace()
        or shell.input_transformers_post
        or manager.cleanup_transforms != _STOCK.cleanup_transforms
        or manager.line_transforms != _STOCK.line_transforms
        or manager.token_transformers != _STOCK.token_transformers
        or _PROMPT.match(raw)
    ):
        return None
    text = raw if raw.endswith("\n") else raw + "\n"
    try:
        tree = shell.compile.ast_parse(text, shell.compile.get_code_name(raw, text, 0))
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None  # What is wrong with it is found again, and reported, after the transformations.
    if len(text.splitlines()) > 1:
        return text, tree
    if not _may_be_special(shell, text):
        return text, tree
    line: str = shell.prefilter_manager.prefilter_lines(text) + "\n"
    return line, (tree if line == text else None)


def _may_be_special(shell: Any, line: str) -> bool:
    """Whether IPython may read a single line of valid Python as something else."""
    if shell.autocall or "PYTHON-MODE" in line or shell.prefilter_is_customized(len(_default_checkers)):
        return True
    if (match := _FIRST_NAME.match(line)) is None:
        return False
    name = match[1]
    magics = shell.magics_manager.magics
    if name in magics["line"] or name in magics["cell"]:
        return True
    first, *attributes = name.split(".")
    value = shell.user_ns.get(first)
    for attribute in attributes:
        value = getattr(value, "__dict__", {}).get(attribute)
    return isinstance(value, IPyAutocall | Macro)
