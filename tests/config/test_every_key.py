"""A profile that says every key starts a kernel, and the kernel is as it says."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from async_kernel.config.schema import SCHEMA
from async_kernel.kernel import Kernel
from async_kernel.runtime.settings import split
from async_kernel.shell.interactive import AsyncInteractiveShell
from tests.config.every_key import EVERY_KEY, write_beside
from tests.kernels import TIMEOUT, RunningKernel, spawn, text_of, wait_for_file

TRAITS = [setting for setting in SCHEMA.values() if setting.trait]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    folder = tmp_path_factory.mktemp("every-key")
    (folder / "every.yaml").write_text(json.dumps(EVERY_KEY))
    write_beside(folder)
    file = folder / "kernel.json"
    process = spawn(
        file,
        "--profile",
        str(folder / "every.yaml"),
        JUPYTER_CONFIG_DIR=str(folder),
        IPYTHONDIR=str(folder / "ipython"),
        GONE="here",
    )
    wait_for_file(file, process)
    kernel = RunningKernel(process, file)
    try:
        yield kernel
    finally:
        kernel.stop()


def value_of(kernel: RunningKernel, expression: str) -> Any:
    reply, published = kernel.run(f"print(repr({expression}))")
    assert reply["content"]["status"] == "ok", reply["content"]
    return ast.literal_eval(text_of(published))


@pytest.mark.slow
def test_the_kernel_is_what_the_profile_says(kernel: RunningKernel) -> None:
    """A key that is accepted and does nothing is worse than one that is refused."""
    kernel.run("from async_kernel.utils import get_kernel; import os, sys, sniffio; kernel = get_kernel()")
    facts = {
        "sniffio.current_async_library()": "trio",
        "(x, y)": (1, 2),
        "kernel.kernel_name": "async-every",
        "kernel.history": "off",
        "kernel.stdin": "deny",
        "kernel.shell.timeout": 30.0,
        "kernel.shell.stop_on_error_time_offset": 0.5,
        "kernel.thread_output": "latest",
        "kernel.completer": "ipython",
        "kernel.subshell_namespace": "isolated",
        "kernel.log_level": "error",
        "kernel.ipython_profile": "default",
        "kernel.ip": "127.0.0.1",
        "'autoreload' in kernel.shell.magics_manager.magics['line']": True,
        "kernel.get_run_mode('comm_msg').name": "task",
    }
    assert {code: value_of(kernel, code) for code in facts} == facts


@pytest.mark.parametrize("setting", TRAITS, ids=lambda setting: setting.key)
def test_a_trait_of_the_table_is_there(setting: Any) -> None:
    """Otherwise a good profile is refused by the kernel, and nobody but its author can know why."""
    own, of_shell = split(Kernel, lambda: AsyncInteractiveShell, {setting.trait: setting.default})
    assert {**own, **{f"shell.{name}": value for name, value in of_shell.items()}}.keys() == {setting.trait}


def test_every_value_is_one_for_the_kernel_too() -> None:
    """What the profile's check lets through, the kernel's must: there is no line to tell of otherwise."""
    for setting in TRAITS:
        for value in getattr(setting.kind, "choices", ()):
            split(Kernel, lambda: AsyncInteractiveShell, {setting.trait: value})


@pytest.mark.slow
def test_refused_settings_leave_nothing(tmp_path: Path) -> None:
    """They are checked when the channels answer already: a good profile must not wait for that. All are told."""
    (tmp_path / "p.yaml").write_text("settings:\n  shell.timout: 1\n  quit: true\n")
    file = tmp_path / "kernel.json"
    process = spawn(file, "--profile", str(tmp_path / "p.yaml"))
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (2, "")
    assert [line.partition(" error: setting ")[0] for line in err.splitlines()] == [
        f"{tmp_path}/p.yaml:2:17:",
        f"{tmp_path}/p.yaml:3:9:",
    ]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["p.yaml"]
