"""A project's own profiles: found by name only below a folder that the user trusts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from async_kernel.config import discovery, trust
from async_kernel.config.problems import ProfileError
from async_kernel.config.profile import load_profile


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a profile of its own; one stands in a folder below it."""
    project = tmp_path / "project"
    (project / ".async-kernel").mkdir(parents=True)
    (project / "deep/er").mkdir(parents=True)
    (project / ".async-kernel/mine.yaml").write_text("description: the project's")
    (project / ".async-kernel/default.yaml").write_text("extends: default\ndescription: the project's default")
    monkeypatch.chdir(project / "deep/er")
    return project


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"JUPYTER_CONFIG_DIR": str(tmp_path / "config")}


def record(tmp_path: Path, *folders: Path) -> Path:
    file = tmp_path / "config/async-kernel/trusted.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(trust.text(list(map(str, folders))))
    return file


def test_without_trust_nothing_is_found(project: Path, environ: dict[str, str]) -> None:
    """The folder may be a stranger's."""
    with pytest.raises(ProfileError, match="no profile 'mine'"):
        load_profile("mine", environ=environ)
    assert "project" not in load_profile("default", environ=environ).values["description"]


def test_with_trust_it_is(project: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """By name, in the project and below it; a kernelspec must name the file, for Jupyter starts it elsewhere."""
    record(tmp_path, project)
    profile = load_profile("mine", environ=environ)
    assert profile.reference == profile.path == str(project / ".async-kernel/mine.yaml")
    assert load_profile("default", environ=environ).values["description"] == "the project's default"
    assert ("mine", profile.path, "trusted") in list(discovery.profiles(environ))


def test_elsewhere_it_is_not(
    project: Path, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a trusted folder is not in it."""
    record(tmp_path, project)
    for name in ("project2/deep", "other"):
        (tmp_path / name).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        assert discovery.trusted(environ) == []


def test_the_innermost_project_comes_first(project: Path, environ: dict[str, str], tmp_path: Path) -> None:
    inner = project / "deep"
    (inner / ".async-kernel").mkdir()
    record(tmp_path, project, inner)
    assert [folder for folder, _ in discovery.trusted(environ)] == [
        f"{inner}/.async-kernel",
        f"{project}/.async-kernel",
    ]


@pytest.mark.parametrize("place", [".", ".async-kernel"])
def test_what_everybody_can_write_to_is_not_searched(
    project: Path, environ: dict[str, str], tmp_path: Path, place: str
) -> None:
    """Trust is in what the user puts there, not in what others do later; and it is told."""
    record(tmp_path, project)
    (project / place).chmod(0o777)
    assert "project" not in load_profile("default", environ=environ).values["description"]
    warning = str(load_profile("default", environ=environ).warnings[0])
    path = str((project / place).resolve())
    assert warning == (
        f"{project}/.async-kernel: warning: not searched, though trusted: '{path}': everybody can write to it"
    )


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may give a folder away")
def test_what_belongs_to_another_is_not_searched(project: Path, environ: dict[str, str], tmp_path: Path) -> None:
    record(tmp_path, project)
    os.chown(project, 12345, 12345)
    assert discovery.trusted(environ)[0][1] == f"'{project}': it belongs to another user"


@pytest.mark.parametrize("text", ["", "[]", '{"folders": 3}', '{"folders": [3]}', "{", '{"folder": []}'])
def test_a_file_that_is_broken_trusts_nobody(project: Path, environ: dict[str, str], tmp_path: Path, text: str) -> None:
    """The kernel starts, and says so."""
    file = record(tmp_path, project)
    file.write_text(text)
    warnings = load_profile("default", environ=environ).warnings
    assert str(warnings[0]).startswith(f"{file}: warning: not searched, though trusted: expected")


def test_a_file_that_everybody_can_write_trusts_nobody(project: Path, environ: dict[str, str], tmp_path: Path) -> None:
    record(tmp_path, project).chmod(0o666)
    assert "everybody can write to it" in str(load_profile("default", environ=environ).warnings[0])


def test_a_link_is_no_way_in(
    project: Path, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is where one really is, not the name by which one came."""
    record(tmp_path, project)
    (tmp_path / "foreign").mkdir()
    (project / "link").symlink_to(tmp_path / "foreign")
    monkeypatch.chdir(project / "link")
    assert discovery.trusted(environ) == []


def test_the_file_is_read_as_it_is_written() -> None:
    assert json.loads(trust.text(["/b", "/a"])) == {"folders": ["/a", "/b"]}
