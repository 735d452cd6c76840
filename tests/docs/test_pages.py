"""The scripts on the documentation's pages, each run in a process of its own; each must print what the page shows.

Without this a reader's first try of an example may fail, or show something else than the page does.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from async_kernel.config.schema import SCHEMA
from docs.generated import run_modes_table, settings_page

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = re.compile(
    r"^## (?P<title>[^\n]+)$|^```python\n(?P<code>.*?)^```\n\n```text\n(?P<shown>.*?)^```$", re.MULTILINE | re.DOTALL
)


def scripts() -> list[tuple[str, str, str]]:
    """Every block of Python that is followed by what it prints: its page and section, the code, the text."""
    found: list[tuple[str, str, str]] = []
    for page in sorted(DOCS.glob("*.md")):
        title = ""
        for match in SCRIPT.finditer(page.read_text("utf-8")):
            title = match["title"] or title
            if match["code"]:
                found.append((f"{page.stem}: {title}", match["code"], match["shown"]))
    return found


SCRIPTS = scripts()


def test_the_scripts_are_found() -> None:
    assert len(SCRIPTS) >= 5


@pytest.mark.slow
@pytest.mark.parametrize(("code", "shown"), [each[1:] for each in SCRIPTS], ids=[each[0] for each in SCRIPTS])
def test_a_script_prints_what_the_page_shows(code: str, shown: str) -> None:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (shown, "", 0)


def test_the_page_on_run_modes_has_every_request() -> None:
    table = run_modes_table()
    assert "| `execute_request` | queue | queue |" in table
    assert "| `shutdown_request` | - | direct |" in table
    assert "{include} _generated/run_modes_table.md" in (DOCS / "run_modes.md").read_text("utf-8")


def test_the_settings_reference_has_every_key() -> None:
    """It is made from the table when the site is built, so it can't be stale; a key without a section could be."""
    page = settings_page()
    for key, setting in SCHEMA.items():
        assert f"\n## {key}\n\n{setting.doc}" in page
        assert f"| [`{key}`](#{key}) |" in page
    assert "- also set by: `--cell-timeout`, `--set cell_timeout=…`, `ASYNC_KERNEL_CELL_TIMEOUT`\n" in page
    assert "_generated/settings.md" in (DOCS / "profiles.md").read_text("utf-8")
