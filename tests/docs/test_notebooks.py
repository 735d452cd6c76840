"""The notebooks of the documentation, executed through nbclient on both backends; each must show what it shows there.

Without this a reader's first try of an example may fail, or show something else than the page does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from async_kernel.kernelspec import write_kernel_spec
from docs.run_notebook import differences, merged

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
KERNELS = {"default": "async", "trio": "async-trio"}


@pytest.fixture(scope="module", autouse=True)
def kernelspecs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The kernelspecs of this checkout, and folders that are nobody's."""
    home = tmp_path_factory.mktemp("home")
    for profile in KERNELS:
        write_kernel_spec(profile, kernel_dir=home / "kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(home))
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(home / name.lower()))
        yield


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS.values())
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_the_page_shows(notebook: Path, kernel: str) -> None:
    command = [sys.executable, str(DOCS / "run_notebook.py"), str(notebook), "--kernel", kernel, "--check"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stdout


def notebook_with(*outputs: nbformat.NotebookNode, tags: tuple[str, ...] = ()) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell("code", id="one", outputs=merged(outputs), metadata={"tags": [*tags]})
    return nbformat.v4.new_notebook(cells=[cell])


def stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


def image(data: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data={"image/png": data})


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ([stream("a\nb\n")], [stream("a\n"), stream("b\n")], True),
        ([stream("a\n")], [stream("b\n")], False),
        ([stream("a\n")], [stream("a\n", "stderr")], False),
        ([stream("a"), image("x"), stream("b")], [stream("a"), stream("b"), image("x")], False),
        ([image("x")], [image("y")], True),
        ([image("x")], [], False),
    ],
)
def test_the_comparison_sees_what_a_reader_sees(
    before: list[nbformat.NotebookNode], after: list[nbformat.NotebookNode], same: bool
) -> None:
    assert (differences(notebook_with(*before), notebook_with(*after)) == []) is same


def test_a_cell_that_varies_is_not_compared() -> None:
    before, after = (notebook_with(stream(text), tags=("output-varies",)) for text in "ab")
    assert differences(before, after) == []
