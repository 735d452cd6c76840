"""Where the name of a profile leads, and where it does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jupyter_core import paths

from async_kernel.config import discovery
from async_kernel.config.problems import ProfileError
from async_kernel.config.profile import load_profile


def test_the_order_of_the_folders(tmp_path: Path) -> None:
    """The first hit wins: whoever changes the order runs another profile than was meant."""
    environ = {"ASYNC_KERNEL_PROFILES": f"/a::{tmp_path}", "JUPYTER_CONFIG_DIR": "/c"}
    assert list(discovery.folders(environ).items()) == [
        ("/a", "ASYNC_KERNEL_PROFILES"),
        (str(tmp_path), "ASYNC_KERNEL_PROFILES"),
        ("/c/async-kernel/profiles", "user"),
        (f"{sys.prefix}/share/jupyter/async-kernel/profiles", "environment"),
        ("/usr/local/share/jupyter/async-kernel/profiles", "system"),
        ("/usr/share/jupyter/async-kernel/profiles", "system"),
        (discovery.builtin_folder(), "built-in"),
    ]


@pytest.mark.parametrize("platform_dirs", ["0", "1"])
def test_the_config_folder_is_jupyters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform_dirs: str) -> None:
    """We don't import jupyter_core (25 ms), so we must find the same folder without it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", platform_dirs)
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_NO_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    environ = {"JUPYTER_PLATFORM_DIRS": platform_dirs}
    expected = f"{paths.jupyter_config_dir()}/async-kernel/profiles"
    assert expected in discovery.folders(environ)
    assert all(f"{root}/async-kernel/profiles" in discovery.folders(environ) for root in paths.SYSTEM_JUPYTER_PATH)
    assert f"{paths.ENV_JUPYTER_PATH[0]}/async-kernel/profiles" in discovery.folders(environ)


def test_the_working_folder_is_not_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A notebook opened in a stranger's folder must not run the stranger's code (CVE-2022-39286 was that)."""
    (tmp_path / "profiles").mkdir()
    for file in ("evil.yaml", "profiles/evil.yaml", "default.yaml", "profiles/default.yaml"):
        (tmp_path / file).write_text("startup: ['evil()']")
    monkeypatch.chdir(tmp_path)
    environ = {"JUPYTER_CONFIG_DIR": "/nowhere"}
    with pytest.raises(ProfileError, match="no profile 'evil'"):
        load_profile("evil", environ=environ)
    assert load_profile("default", environ=environ).values["startup"] == []
    assert load_profile("./evil.yaml", environ=environ).values["startup"]


def test_what_can_be_used_by_name(tmp_path: Path) -> None:
    """What hides another profile is listed in its place; local files and odd names are not profiles."""
    for name in ("default", "mine", "mine.local", "odd name"):
        (tmp_path / f"{name}.yaml").write_text("")
    (tmp_path / "note.txt").write_text("")
    found = list(discovery.profiles({"ASYNC_KERNEL_PROFILES": str(tmp_path), "JUPYTER_CONFIG_DIR": "/nowhere"}))
    own = [(name, path) for name, path, whose in found if whose == "ASYNC_KERNEL_PROFILES"]
    assert own == [("default", f"{tmp_path}/default.yaml"), ("mine", f"{tmp_path}/mine.yaml")]
    assert {name for name, _, whose in found if whose == "built-in"} >= {"trio", "fast"}
    assert [name for name, _, _ in found].count("default") == 1
