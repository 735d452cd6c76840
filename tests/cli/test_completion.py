"""Completion in the shell, spoken as bash speaks it, and the verbs that are imported when they are used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from async_kernel.cli.later import Later
from async_kernel.cli.main import cli, main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def complete(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """What bash is offered for the last of some words."""

    def complete(*words: str) -> list[str]:
        monkeypatch.setenv("_ASYNC_KERNEL_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(("async-kernel", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            main([])
        return capsys.readouterr().out.splitlines()

    return complete


def test_what_is_offered(complete: Callable[..., list[str]], run: Run, home: Path) -> None:
    """Names that one would have to look up."""
    (home / "profiles/mine.yaml").write_text("extends: default")
    assert complete("un") == ["plain,uninstall"]
    assert {"plain,doctor", "plain,logs", "plain,ps"} <= {*complete("")}
    assert complete("ps", "--w") == ["plain,--watch"]
    assert complete("run", "--profile", "mi") == ["plain,mine"]
    assert {"plain,default", "plain,fast", "plain,trio"} <= {*complete("install", "--profile", "")}
    assert complete("run", "--profile", "./mi") == ["file,./mi"]
    assert complete("run", "--backend", "tr") == ["plain,trio"]
    assert complete("run", "--set", "comp") == [f"plain,completer={word}" for word in ("jedi", "ipython", "off")]
    assert complete("run", "--set", "completer=i") == ["plain,completer=ipython"]
    assert "plain,backend_options=" in complete("run", "--set", "back")
    assert complete("run", "--set", "quiet=") == ["plain,quiet=true", "plain,quiet=false"]
    assert not [word for word in complete("run", "--set", "") if "extends" in word]


def test_kernelspecs_and_logs(complete: Callable[..., list[str]], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(home / "runtime"))
    (home / "runtime/async-kernel").mkdir(parents=True)
    (home / "runtime/async-kernel/kernel-a.log").write_text("")
    assert complete("logs", "k") == ["plain,kernel-a"]
    folder = home / "share/jupyter/kernels/async-mine"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text('{"metadata": {"async_kernel": {"profile": "mine"}}}')
    (folder.parent / "foreign").mkdir()
    (folder.parent / "foreign/kernel.json").write_text("{}")
    assert complete("uninstall", "") == ["plain,async-mine"]


@pytest.mark.slow
def test_the_line_for_bash(home: Path) -> None:
    """The line on the page works as it is written."""
    page = (Path(__file__).parents[2] / "docs/command_line.md").read_text("utf-8")
    (line,) = [word for word in page.split("`") if "bash_source" in word]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{line}\ncomplete -p async-kernel"],
        env={**os.environ, "PATH": path},
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("complete ")
    assert done.stdout.endswith(" async-kernel\n")


@pytest.mark.slow
def test_it_imports_little(home: Path) -> None:
    """Tab is pressed often: 0.3 s is what one does not wait for."""
    code = (
        "import sys; from async_kernel.__main__ import main\n"
        "try:\n    main([])\nexcept SystemExit: pass\n"
        "found = {'IPython', 'zmq', 'traitlets', 'rich', 'asyncio', 'anyio', 'jupyter_client'} & {*sys.modules}\n"
        "assert not found, found"
    )
    environ = {
        "_ASYNC_KERNEL_COMPLETE": "bash_complete",
        "COMP_WORDS": "async-kernel run --profile ",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environ},
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert "plain,default" in done.stdout


@pytest.mark.parametrize("name", [name for name, each in cli.commands.items() if isinstance(each, Later)])
def test_a_later_verb_is_what_help_says(name: str) -> None:
    """The list of verbs does not import them, so it could say something else than they do."""
    later = cli.commands[name]
    assert isinstance(later, Later)
    real = later.load()
    assert real.name == later.name
    assert f"{(real.help or '').splitlines()[0]}" == later.short_help
