"""Notebooks of other people, from the source distributions of packages, show here what they show under ipykernel.

`make test-notebooks` makes an environment with the packages and with ipykernel, fetches the source distributions from
PyPI and runs this; elsewhere it is skipped. Nothing of them is in this repository. Each notebook runs in its own folder
under ipykernel, then on both backends here; what differs from run to run (addresses, times, ids) is made equal before.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbclient")
SDISTS = os.environ.get("NOTEBOOK_SDISTS", "")
if not SDISTS or importlib.util.find_spec("ipykernel") is None:
    pytest.skip("needs ipykernel and NOTEBOOK_SDISTS: make test-notebooks", allow_module_level=True)

import nbformat  # noqa: E402
from nbclient import NotebookClient  # noqa: E402

from async_kernel.kernelspec import write_kernel_spec  # noqa: E402
from docs.run_notebook import merged  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NOTEBOOKS = {
    "corner": "docs/pages/quickstart docs/pages/custom docs/pages/sigmas",
    "emcee": "docs/tutorials/quickstart docs/tutorials/moves",
    "nbclient": "tests/files/Clear_Output tests/files/Error tests/files/Factorials tests/files/Inline_Image "
    "tests/files/JupyterWidgets tests/files/Output tests/files/SVG tests/files/Skip_Exceptions tests/files/Unicode "
    "tests/files/UnicodePy3",
    "nbconvert": "tests/exporters/files/pngmetadata",
    "papermill": "papermill/tests/notebooks/simple_execute papermill/tests/notebooks/complex_parameters "
    "papermill/tests/notebooks/line_magic_error",
    "seaborn": "doc/_tutorial/aesthetics doc/_docstrings/axes_style doc/_docstrings/blend_palette "
    "doc/_docstrings/color_palette doc/_docstrings/set_theme",
}
# Left out: what has no fixed seed, downloads data, or asks ipykernel for internals (nbclient's update-display-id).
"Of each package: names without `.ipynb`; a blank is written as `_`."
CASES = [(package, path) for package, paths in NOTEBOOKS.items() for path in paths.split()]

SAME: tuple[tuple[str, str], ...] = (
    (r"\x1b\[[0-9;]*m", ""),
    (r"/tmp/\S+?\.py\b", "<cell>"),
    (r"\b0x[0-9a-f]+", "0x…"),
    (r"\bid=\d+", "id=…"),
    (r"\b[0-9a-f]{32}\b", "<id>"),
    (r"[0-9]+(\.[0-9]+)?( ?([nµmu]?s|min|us)\b|[a-zA-Z]*it/s|s/it|B/s)", "<time>"),
    (r"\d\d:\d\d(:\d\d)?", "<time>"),
    (r"\d{4}-\d\d-\d\d[T ]<time>\S*", "<date>"),
)
"What differs from run to run, and what stands in its place."


@pytest.fixture(scope="session", autouse=True)
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernelspecs of this checkout beside ipykernel's, and folders that are nobody's."""
    home = tmp_path_factory.mktemp("home")
    for profile in ("default", "trio"):
        write_kernel_spec(profile, kernel_dir=home / "kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", f"{home}{os.pathsep}{sys.prefix}/share/jupyter")
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(home / name.lower()))
        yield


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distributions, unpacked; each folder has its package's name."""
    folder = tmp_path_factory.mktemp("sources")
    for path in Path(SDISTS).glob("*.tar.gz"):
        package = path.name.partition("-")[0]
        if package in NOTEBOOKS:
            with tarfile.open(path) as archive:
                archive.extractall(folder / package, filter="data")
    return folder


def execute(path: Path, kernel: str, folder: Path) -> list[Any]:
    """The outputs of each code cell, made comparable; the notebook runs in a copy of its folder."""
    shutil.copytree(path.parent, folder)
    notebook: Any = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=240, kernel_name=kernel, resources=resources, allow_errors=True)
    client.execute()
    return [(cell.source, [normal(each) for each in merged(cell.outputs)])
            for cell in notebook.cells if cell.cell_type == "code"]  # fmt: skip


def normal(output: Any) -> Any:
    """What of an output must be the same in each run."""
    kind: str = output.output_type
    if kind == "stream":
        return output.name, same(output.text)
    if kind == "error":
        return kind, output.ename, same(output.evalue)
    return kind, {mime: same(value) for mime, value in output.data.items()}


def same(value: Any) -> str:
    """`value` as text, without what differs from run to run; of a line that was overwritten, what was there last."""
    text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in str(value).split("\n"))
    for pattern, by in SAME:
        text = re.sub(pattern, by, text)
    return text.strip()


@pytest.mark.parametrize(("package", "name"), CASES, ids=["/".join(each) for each in CASES])
def test_it_shows_what_it_shows_under_ipykernel(package: str, name: str, sources: Path, tmp_path: Path) -> None:
    found = list(sources.glob(f"{package}/*/{name.replace('_', '?')}.ipynb"))
    if not found:
        pytest.skip(f"the source distribution of {package} is not there, or has no {name}.ipynb")
    expected = execute(found[0], "python3", tmp_path / "ipykernel")
    assert any(outputs for _, outputs in expected), "it shows nothing at all"
    for kernel in ("async", "async-trio"):
        got = execute(found[0], kernel, tmp_path / kernel)
        for (source, before), (_, after) in zip(expected, got, strict=True):
            assert after == before, f"{kernel}: {source}"
