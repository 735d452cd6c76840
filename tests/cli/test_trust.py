"""`trust`: recorded for this user only, listed, taken back."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(home: Path) -> Path:
    (home / "project/.async-kernel").mkdir(parents=True)
    (home / "project/.async-kernel/mine.yaml").write_text("description: the project's")
    return home / "project"


def test_there_and_back(run: Run, home: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert run("profile", "show", "mine")[0] == 2
    assert run("trust", ".") == (0, f"trusted  {project}\nprofiles in .async-kernel: mine\n", "")
    assert run("trust", str(project))[0] == 0  # twice is once
    file = home / "config/async-kernel/trusted.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"folders": [str(project)]}
    assert run("profile", "show", "mine")[:2] == (0, "description: the project's\n")
    assert json.loads(run("trust", "--json")[1]) == [{"folder": str(project), "profiles": ["mine"], "state": "ok"}]
    assert run("trust", "--list")[1].splitlines()[1].split() == [str(project), "mine", "ok"]
    assert run("trust", "--remove", str(project)) == (0, f"no longer trusted  {project}\n", "")
    assert run("profile", "show", "mine")[0] == 2
    assert run("trust", "--remove", str(project)) == (2, "", f"async-kernel: error: {project} is not trusted\n")


def test_what_is_not_trusted(run: Run, home: Path, project: Path) -> None:
    """A profile in a folder that others can write to is theirs."""
    project.chmod(0o777)
    said = f"async-kernel: error: not trusted: '{project}': everybody can write to it\n"
    assert run("trust", str(project)) == (2, "", said)
    assert (
        run("trust", str(home / "none"))[2] == f"async-kernel: error: not trusted: there is no folder '{home}/none'\n"
    )
    assert run("trust")[0] == run("trust", "--list", ".")[0] == 2
    assert not (home / "config").exists()


def test_a_broken_file_is_not_overwritten(run: Run, home: Path, project: Path) -> None:
    """What the user trusted before would be gone."""
    file = home / "config/async-kernel/trusted.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    code, _, err = run("trust", str(project))
    assert (code, file.read_text()) == (2, "{")
    assert err.startswith(f"async-kernel: error: {file}: expected")
