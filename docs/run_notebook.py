"""Execute notebooks on kernels through nbclient, print what they show, and compare it with what they showed before.

    python docs/run_notebook.py docs/notebooks/quickstart.ipynb --kernel async async-trio async-fast

With `--check`, outputs that differ from those in the file are listed, and the exit code is 1. With `--write`, the
outputs of the first kernel are written to the file. A cell tagged `output-varies` is run but not compared.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

if TYPE_CHECKING:
    from collections.abc import Sequence

Notebook = Any
"""A `nbformat.NotebookNode`: its attributes are those of the notebook format, which has no types."""

CELL_TIMEOUT = 60
"Seconds that one cell may take."


def execute(path: Path, kernel: str, *, progress: bool = False) -> Notebook:
    """Execute the notebook `path` on the kernelspec `kernel`; a new notebook with the new outputs.

    Raises:
        CellExecutionError: A cell fails that is not tagged `raises-exception`.
        CellTimeoutError: A cell takes longer than `CELL_TIMEOUT` seconds.
    """
    notebook: Notebook = nbformat.read(path, as_version=4)
    number = len([cell for cell in notebook.cells if cell.cell_type == "code"])
    started = iter(range(1, number + 1))

    def tell(cell: Notebook, cell_index: int) -> None:
        if progress and cell.cell_type == "code":
            print(f"{path.name} on {kernel}: cell {next(started)} of {number}", file=sys.stderr, flush=True)

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name=kernel,
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        on_cell_start=tell,
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = merged(cell.outputs)
    return notebook


def merged(outputs: Sequence[Notebook]) -> list[Notebook]:
    """Neighbouring texts of one stream as one: how a kernel cut them into messages says nothing."""
    found: list[Notebook] = []
    for output in outputs:
        if output.output_type == "stream" and found and found[-1].get("name") == output.name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def normal(output: Notebook) -> dict[str, Any]:
    """What of an output must be the same in each run: images by their type only, errors without their traceback."""
    kind: str = output.output_type
    if kind == "stream":
        return {"type": output.name, "text": output.text}
    if kind == "error":
        return {"type": kind, "ename": output.ename, "evalue": output.evalue}
    data = {name: "…" if name.startswith("image/png") else value for name, value in output.data.items()}
    return {"type": kind, "data": data}


def differences(expected: Notebook, got: Notebook) -> list[str]:
    """The cells whose outputs are not those expected, each as a sentence."""
    found: list[str] = []
    for before, after in zip(expected.cells, got.cells, strict=True):
        if before.cell_type != "code" or "output-varies" in before.metadata.get("tags", ()):
            continue
        old, new = ([normal(output) for output in cell.outputs] for cell in (before, after))
        if old != new:
            found.append(f"cell {before.id}: expected {old}, got {new}")
        if before.execution_count != after.execution_count:
            found.append(f"cell {before.id}: expected number {before.execution_count}, got {after.execution_count}")
    return found


def text_of(output: Notebook) -> str:
    """An output as a terminal can show it."""
    if output.output_type == "stream":
        return output.text.rstrip("\n")
    if output.output_type == "error":
        return re.sub(r"\x1b\[[0-9;]*m", "", output.traceback[-1])
    text = output.data.get("text/plain", "")
    others = [name for name in output.data if name != "text/plain"]
    return f"{text}  [{', '.join(others)}]" if others else text


def show(notebook: Notebook) -> None:
    """Print each code cell that put something out, with what it put out."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.outputs:
            lines = cell.source.splitlines()
            print(f"In [{cell.execution_count}]: {lines[0]}{' …' if len(lines) > 1 else ''}")
            for output in cell.outputs:
                print(textwrap.indent(text_of(output), "    "))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--kernel", nargs="+", default=["async"], metavar="NAME", help="names of kernelspecs (async)")
    parser.add_argument("--check", action="store_true", help="compare the outputs with those in the file")
    parser.add_argument("--write", action="store_true", help="write the outputs of the first kernel to the file")
    options = parser.parse_args(arguments)
    faults: list[str] = []
    for path in options.notebooks:
        for kernel in options.kernel:
            try:
                notebook = execute(path, kernel, progress=True)
            except (CellExecutionError, CellTimeoutError, DeadKernelError, NoSuchKernel) as error:
                faults.append(f"{path} on {kernel}: {error}")
                continue
            print(f"\n=== {path.name} on {kernel} ===\n")
            show(notebook)
            if options.check:
                new = differences(nbformat.read(path, as_version=4), notebook)
                faults += (f"{path} on {kernel}: {fault}" for fault in new)
            if options.write and kernel == options.kernel[0]:
                write(path, notebook)
    print(*faults, sep="\n", file=sys.stderr)
    return 1 if faults else 0


def write(path: Path, executed: Notebook) -> None:
    """Put the outputs of `executed` into the file `path` and leave everything else there as it is."""
    notebook: Notebook = nbformat.read(path, as_version=4)
    for old, new in zip(notebook.cells, executed.cells, strict=True):
        if old.cell_type == "code":
            old.outputs, old.execution_count = new.outputs, new.execution_count
    nbformat.write(notebook, path)


if __name__ == "__main__":
    sys.exit(main())
