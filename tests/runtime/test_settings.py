"""Settings: what a user writes becomes a trait's value, or an error that says what was wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from async_kernel.kernel import Kernel
from async_kernel.runtime.settings import SettingError, split
from async_kernel.shell.interactive import AsyncInteractiveShell
from async_kernel.typing import Backend


def settle(**settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return split(Kernel, lambda: AsyncInteractiveShell, {k.replace("__", "."): v for k, v in settings.items()})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("quiet", "false", False),
        ("quiet", True, True),
        ("anyio_backend", "trio", Backend.trio),
        ("anyio_backend", Backend.asyncio, Backend.asyncio),
        ("connection_file", "/tmp/k.json", Path("/tmp/k.json")),
        ("transport", "ipc", "ipc"),
        ("run_modes", '{"execute_request": "task"}', {"execute_request": "task"}),
        ("extensions", '["autoreload"]', ["autoreload"]),
    ],
)
def test_a_value_is_converted_by_its_trait(key: str, value: Any, expected: Any) -> None:
    assert settle(**{key: value}) == ({key: expected}, {})


@pytest.mark.parametrize(("value", "expected"), [("2.5", 2.5), (3, 3.0), (0, 0.0)])
def test_a_setting_of_the_shell_waits_for_the_shell(value: Any, expected: float) -> None:
    assert settle(shell__timeout=value) == ({}, {"timeout": expected})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("quit", True, "did you mean 'quiet'"),
        ("shell.timout", 1, "did you mean 'shell.timeout'"),
        ("shell.timeout", "soon", "got 'soon'"),
        ("shell.timeout", -1, "got -1"),
        ("transport", "udp", "tcp"),
        ("anyio_backend", "curio", "got 'curio'"),
        ("quiet", "maybe", "got 'maybe'"),
        ("run_modes", "__import__('os').abort()", "run_modes"),
        ("session.key", "x", "'session'"),
        ("_trait_values", {}, "_trait_values"),
    ],
)
def test_what_does_not_fit_is_named(key: str, value: Any, said: str) -> None:
    """Nothing is evaluated, and nothing is silently ignored."""
    with pytest.raises(SettingError) as caught:
        settle(**{key.replace(".", "__"): value})
    assert repr(key) in str(caught.value)
    assert said in str(caught.value)


def test_a_bad_setting_leaves_the_kernel_unmade() -> None:
    with pytest.raises(SettingError):
        Kernel({"quiet": "perhaps"})
    assert Kernel().quiet is True
