"""JupyterLab's launcher in a browser: one tile for each variant, and each starts what it shows.

`make test-browser` runs this; elsewhere it is skipped: JupyterLab, Selenium and Chromium are more than the rest of the
tests needs. ASYNC_KERNEL_SCREENSHOT names a file for a picture of the launcher.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from async_kernel.__main__ import main
from tests.browser import chromium, jupyterlab, missing
from tests.kernels import TIMEOUT, text_of

if lacks := missing():
    pytest.skip(lacks, allow_module_level=True)

VARIANTS = {
    "mine-one": "display_name: One\nbackend: trio\ncell_timeout: 11\nlogo: mine-one.svg\n",
    "mine-two": "display_name: Two, of {profile}\nextends: fast\ncell_timeout: 22\nlogo: mine-two.svg\n",
    "mine-three": "display_name: Three\ncell_timeout: 33\nstdin: deny\n",
}
LOGO = '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><circle cx="32" cy="32" r="30" fill="{}"/></svg>'
TILES = """
return [...document.querySelectorAll('.jp-LauncherCard[data-category="Notebook"]')].map(tile => {
    const image = tile.querySelector('img');
    return [tile.querySelector('.jp-LauncherCard-label').innerText.trim(),
            image ? new URL(image.src).pathname : '', Boolean(image && image.complete && image.naturalWidth)];
})
"""
SETTINGS = "[k.anyio_backend, k.transport, k.shell.timeout]"
EXPECTED = {
    "One": ("async-mine-one", "['trio', 'tcp', 11.0]"),
    "Two, of mine-two": ("async-mine-two", "['asyncio', 'ipc', 22.0]"),
    "Three": ("async-mine-three", "['asyncio', 'tcp', 33.0]"),
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A JupyterLab with the three variants installed; what its own file says about it."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "work").mkdir()
    for name, text in VARIANTS.items():
        (tmp_path / f"profiles/{name}.yaml").write_text(text)
        (tmp_path / f"profiles/{name}.svg").write_text(LOGO.format("teal" if name == "mine-one" else "tomato"))
    monkeypatch.setenv("ASYNC_KERNEL_PROFILES", str(tmp_path / "profiles"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share/jupyter"))
    argv = [part for name in VARIANTS for part in ("--profile", name)]
    assert main(["install", "--prefix", str(tmp_path), *argv]) == 0
    with jupyterlab(tmp_path) as about:
        yield about


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium."""
    with chromium(tmp_path) as driver:
        yield driver


def settings_of(kernel_id: str) -> str:
    """What the kernel that JupyterLab has started says of itself."""
    file = Path(os.environ["JUPYTER_RUNTIME_DIR"], f"kernel-{kernel_id}.json")
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=TIMEOUT)
    messages: list[dict[str, Any]] = []
    code = (
        f"k = get_ipython().kernel; print([str(each) if not isinstance(each, float) else each for each in {SETTINGS}])"
    )
    client.execute_interactive(code, timeout=TIMEOUT, output_hook=messages.append)
    client.stop_channels()
    return text_of(messages).strip()


@pytest.mark.slow
def test_the_launcher(server: dict[str, Any], browser: Any) -> None:
    """Its name and its logo are how a user finds a variant; the wrong kernel behind a tile would go unnoticed."""
    wait = importlib.import_module("selenium.webdriver.support.ui").WebDriverWait(browser, TIMEOUT)

    def tiles(driver: Any) -> dict[str, tuple[str, bool]]:
        return {name: (path, shown) for name, path, shown in driver.execute_script(TILES)}

    def all_shown(driver: Any) -> bool:
        found = tiles(driver)
        return all(name in found and found[name][1] for name in EXPECTED)

    for name, (spec, settings) in EXPECTED.items():
        browser.get(f"{server['url']}lab?token=t&reset")
        wait.until(all_shown)
        assert [label for label, _, _ in browser.execute_script(TILES)].count(name) == 1
        assert tiles(browser)[name][0].startswith(f"/kernelspecs/{spec}/logo-")
        if picture := os.environ.get("ASYNC_KERNEL_SCREENSHOT"):
            browser.save_screenshot(picture)
        browser.find_element("css selector", f'.jp-LauncherCard[data-category="Notebook"][title^="{name}"]').click()

        def kernel_id(driver: Any, spec: str = spec) -> str:
            driver.set_script_timeout(TIMEOUT)
            sessions = driver.execute_async_script("fetch('/api/sessions').then(r => r.json()).then(arguments[0])")
            return next((each["kernel"]["id"] for each in sessions if each["kernel"]["name"] == spec), "")

        assert settings_of(wait.until(kernel_id)) == settings
