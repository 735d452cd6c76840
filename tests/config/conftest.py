"""A folder for profiles, and an environment in which nothing else is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from async_kernel.config.profile import Profile, load_profile, parse_set


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def environ(folder: Path) -> dict[str, str]:
    return {"ASYNC_KERNEL_PROFILES": str(folder), "JUPYTER_CONFIG_DIR": str(folder / "no-config")}


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], str]:
    """Write the profile `name`; gives its path."""

    def write(name: str, text: str) -> str:
        path = folder / f"{name}.yaml"
        path.write_text(text, "utf-8")
        return str(path)

    return write


@pytest.fixture
def load(write: Callable[[str, str], str], environ: dict[str, str]) -> Callable[..., Profile]:
    """The profile `p` of this text, with `--set` for each of `sets`."""

    def load(text: str, *sets: str, **variables: str) -> Profile:
        path = write("p", text)
        return load_profile(path, overrides=[parse_set(each) for each in sets], environ={**environ, **variables})

    return load
