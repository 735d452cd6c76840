"""Widgets in a real JupyterLab: what the user moves reaches Python, and what Python sets reaches the screen.

`make test-browser` runs this; elsewhere it is skipped. ASYNC_KERNEL_SCREENSHOT names a file for a picture.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from async_kernel.__main__ import main
from tests.browser import chromium, jupyterlab, missing

if lacks := missing() or ("" if importlib.util.find_spec("ipympl") else "needs ipympl: make test-browser"):
    pytest.skip(lacks, allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SECONDS = 60
SLIDER = """
import anyio, ipywidgets
s = ipywidgets.IntSlider(3, description='moved')
s"""
LOOP = """
begun = s.value
while s.value == begun:
    await anyio.sleep(0.01)
print('python saw', s.value)
s.value = 77
await anyio.sleep(0.1)"""
PLOT = """
%matplotlib ipympl
import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(5, 3)); ax.plot([0, 1]); ax.set(xlim=(0, 1), ylim=(0, 1))
shown = ipywidgets.Label('no'); display(shown)
ax.callbacks.connect('xlim_changed', lambda ax: setattr(shown, 'value', f'panned {ax.get_xlim()[0]:.2f}'))
plt.show()"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Path]]:
    """A JupyterLab with the kernels of both backends, and the folder that it shows."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "work").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder / "share/jupyter"))
        assert main(["install", "--prefix", str(folder), "--profile", "default", "--profile", "trio"]) == 0
        with jupyterlab(folder, "--LabApp.expose_app_in_browser=True") as about:
            yield about, folder / "work"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium."""
    with chromium(tmp_path) as driver:
        yield driver


@pytest.mark.parametrize("kernel", ["async", "async-trio"])
def test_what_is_moved_in_the_browser(lab: tuple[dict[str, Any], Path], browser: Any, kernel: str) -> None:
    """A slider while another cell awaits in a loop, and a plot that is dragged."""
    about, folder = lab
    keys, actions = (importlib.import_module(f"selenium.webdriver.common.{name}") for name in ("keys", "action_chains"))
    wait = importlib.import_module("selenium.webdriver.support.ui").WebDriverWait(browser, SECONDS)
    cells = [nbformat.v4.new_code_cell(code.strip()) for code in (SLIDER, LOOP, PLOT)]
    spec = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), folder / f"{kernel}.ipynb")

    def text(selector: str) -> str:
        code = "return [...document.querySelectorAll(arguments[0])].map(each => each.innerText).join('|')"
        return browser.execute_script(code, selector)

    def element(selector: str) -> Any:
        return wait.until(lambda driver: next(iter(driver.find_elements("css selector", selector)), None))

    try:
        browser.get(f"{about['url']}lab/tree/{kernel}.ipynb?token=t&reset")
        wait.until(lambda driver: driver.execute_script(
            "const panel = window.jupyterapp?.shell.currentWidget;"
            "return panel?.sessionContext?.session?.kernel?.status === 'idle'"))  # fmt: skip
        browser.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        handle = element(".noUi-handle")
        wait.until(lambda _: text(".jp-InputArea-prompt").startswith("[1]:|[*]:"))
        handle.send_keys(keys.Keys.ARROW_RIGHT)
        wait.until(lambda _: "python saw 4" in text(".jp-OutputArea-output"))
        wait.until(lambda _: text(".widget-readout") == "77")
        browser.execute_script("arguments[0].click()", element("button[title*='pans']"))  # It is shown by hovering.
        canvas = element(".jupyter-matplotlib-canvas-container canvas:last-of-type, .jupyter-matplotlib canvas")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        actions.ActionChains(browser).move_to_element(canvas).click_and_hold().move_by_offset(60, 0).release().perform()
        wait.until(lambda _: "panned -0." in text(".widget-label"))
    finally:
        if picture := os.environ.get("ASYNC_KERNEL_SCREENSHOT"):
            browser.save_screenshot(picture)
