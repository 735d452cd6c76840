"""JupyterLab and a headless Chromium, for the tests that need both: `make test-browser`."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kernels import TIMEOUT, wait_for_file

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")


def missing() -> str:
    """What such a test needs and this machine does not have; empty where all is there."""
    if not (CHROMIUM and DRIVER):
        return "needs chromium and chromedriver"
    lacks = [name for name in ("jupyterlab", "selenium") if importlib.util.find_spec(name) is None]
    return f"needs {' and '.join(lacks)}: make test-browser" if lacks else ""


@contextmanager
def jupyterlab(folder: Path, *options: str) -> Generator[dict[str, Any]]:
    """A JupyterLab that shows `folder`/work; what its own file says about it. Its token is `t`."""
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", "--ServerApp.token=t"]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*command, f"--notebook-dir={folder}/work", *options], stdout=log, stderr=log, text=True
        )
    try:
        about = Path(os.environ["JUPYTER_RUNTIME_DIR"], f"jpserver-{process.pid}.json")
        wait_for_file(about, process)
        while not (text := about.read_text()).endswith("}"):  # It is being written.
            os.sched_yield()
        yield json.loads(text)
    finally:
        process.terminate()
        process.wait(TIMEOUT)


@contextmanager
def chromium(folder: Path) -> Generator[Any]:
    """A headless Chromium with its profile in `folder`."""
    webdriver = importlib.import_module("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1300,900"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={folder}/chromium")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
