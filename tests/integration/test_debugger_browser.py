"""JupyterLab's debugger panel: a click beside a line stops a cell there, its variables are shown, and it goes on.

`make test-browser` runs this; elsewhere it is skipped. ASYNC_KERNEL_SCREENSHOT names a file for a picture.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path

import nbformat
import pytest

from async_kernel.__main__ import main
from tests.browser import chromium, jupyterlab, missing

if lacks := missing() or ("" if importlib.util.find_spec("debugpy") else "needs debugpy: make test-browser"):
    pytest.skip(lacks, allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SECONDS = 60
CODE = "cheese = 'gouda'\nprice = 6 * 7\nprint('sold', cheese, price)"
CURRENT = "window.jupyterapp?.shell.currentWidget"


@pytest.mark.parametrize("profile", ["default", "trio"])
def test_a_cell_stops_at_a_breakpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    """Debugging is what many people open a notebook's menu for."""
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share/jupyter"))
    name = "async" if profile == "default" else f"async-{profile}"
    assert main(["install", "--prefix", str(tmp_path), "--profile", profile]) == 0
    spec = {"kernelspec": {"name": name, "display_name": name, "language": "python"}}
    cells = [nbformat.v4.new_code_cell(CODE)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), tmp_path / "work/n.ipynb")
    action_chains = importlib.import_module("selenium.webdriver.common.action_chains")
    wait_for = importlib.import_module("selenium.webdriver.support.ui").WebDriverWait
    with jupyterlab(tmp_path, "--LabApp.expose_app_in_browser=True") as about, chromium(tmp_path) as browser:
        wait = wait_for(browser, SECONDS)

        def texts(selector: str) -> list[str]:
            code = "return [...document.querySelectorAll(arguments[0])].map(each => each.innerText)"
            return browser.execute_script(code, selector)

        def click(selector: str) -> None:
            found = wait.until(lambda driver: next(iter(driver.find_elements("css selector", selector)), None))
            browser.execute_script("arguments[0].click()", found)

        def run(command: str) -> None:
            browser.execute_script("window.jupyterapp.commands.execute(arguments[0])", command)

        def mark_second_line() -> bool:
            """Click beside it until the breakpoint is listed: the editor is laid out anew when debugging begins."""
            if not texts(".jp-DebuggerBreakpoint-line"):
                lines = browser.find_elements("css selector", ".cm-breakpoint-gutter .cm-gutterElement")
                if len(lines) > 2:  # The first only keeps the gutter as wide as it is.
                    action_chains.ActionChains(browser).move_to_element(lines[2]).click().perform()
            return bool(texts(".jp-DebuggerBreakpoint-line"))

        try:
            browser.get(f"{about['url']}lab/tree/n.ipynb?token=t&reset")
            wait.until(lambda driver: driver.execute_script(
                f"return {CURRENT}?.sessionContext?.session?.kernel?.status === 'idle'"))  # fmt: skip
            click(".jp-DebuggerBugButton")
            wait.until(lambda _: mark_second_line())
            run("notebook:run-cell")
            wait.until(lambda _: texts(".jp-DebuggerCallstackFrame-location"))
            wait.until(lambda _: any("cheese" in each for each in texts(".jp-DebuggerVariables-body")))
            assert not any("sold" in each for each in texts(".jp-OutputArea-output"))
            if picture := os.environ.get("ASYNC_KERNEL_SCREENSHOT"):
                browser.save_screenshot(picture)
            run("debugger:continue")
            wait.until(lambda _: any("sold gouda 42" in each for each in texts(".jp-OutputArea-output")))
        except BaseException:
            if picture := os.environ.get("ASYNC_KERNEL_SCREENSHOT"):
                browser.save_screenshot(f"{picture}.failed.png")
            raise
