"""The command tree: exit codes, what it costs, and that a stranger's folder is only a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (["--help"], 0, "Usage: async-kernel"),
        (["--version"], 0, "async-kernel, version "),
        (["install", "--help"], 0, "--replace"),
        ([], 2, "Usage: async-kernel"),
        (["bogus"], 2, "No such command 'bogus'"),
        (["run", "--bogus"], 2, "No such option"),
        (["run", "-f"], 2, "requires an argument"),
        (["run", "-f", "c.json", "extra"], 2, "unexpected extra argument"),
        (["run", "--set", "x"], 2, "--set x: error: expected KEY=VALUE"),
        (["uninstall"], 2, "Missing argument"),
        (["install", "--user", "--sys-prefix"], 2, "give one of --user, --sys-prefix and --prefix"),
    ],
)
def test_exit_codes(run: Run, argv: list[str], code: int, text: str) -> None:
    """Scripts read them."""
    got, out, err = run(*argv)
    assert got == code
    assert text in out + err
    assert "Traceback" not in err


def program(*argv: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "async_kernel", *argv]
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("ASYNC_", "COVERAGE", "NO_COLOR"))
    }
    return subprocess.run(
        command, cwd=folder, env={**clean, **environ}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("argv", [["--help"], ["list"], ["list", "--json"], ["install", "--dry-run", "--user"]])
def test_what_only_lists_imports_little(home: Path, argv: list[str]) -> None:
    """A quarter of a second is the limit; IPython alone takes longer."""
    code = (
        "import sys; from async_kernel.__main__ import main\n"
        f"assert main({argv!r}) == 0\n"
        "heavy = {'IPython', 'zmq', 'traitlets', 'rich', 'asyncio', 'anyio', 'trio', 'jupyter_client'}\n"
        "found = heavy & {*sys.modules}\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, stdout=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "profile",
    [[], ["--profile", "default"], ["--profile", "trio"], ["--profile", "fast"], ["--profile", "{profile}"]],
)
def test_what_jupyter_starts_goes_straight_to_the_kernel(home: Path, profile: list[str]) -> None:
    """Each of these imports would be paid at every start of a kernel."""
    code = (
        "import sys, types\n"
        "sys.modules['async_kernel.launch'] = types.SimpleNamespace(launch=lambda *args: print(args[0].name) or 0)\n"
        "from async_kernel.__main__ import main\n"
        f"assert main({['run', '-f', 'c.json', *profile]!r}) == 0\n"
        "heavy = {'click', 'rich', 'yaml', 'msgspec', 'IPython', 'zmq', 'traitlets', 'asyncio', 'anyio', 'inspect'}\n"
        "found = heavy & {*sys.modules}\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    name = profile[1] if profile else "default"
    assert done.stdout.strip() == ("default" if name == "{profile}" else name)


@pytest.mark.slow
def test_a_strangers_folder_is_only_a_folder(home: Path) -> None:
    """A notebook opened in a downloaded folder must not run what lies there before a cell is run."""
    hostile = home / "hostile"
    for place in ("profiles", ".async-kernel/profiles", "."):
        (hostile / place).mkdir(parents=True, exist_ok=True)
        (hostile / place / "default.yaml").write_text("startup: [evil()]\ndescription: evil")
        (hostile / place / "evil.yaml").write_text("startup: [evil()]")
    for name in ("__future__", "typing", "yaml", "click", "zmq", "pathlib", "jupyter_core"):
        (hostile / f"{name}.py").write_text("raise SystemExit('evil')")
    for argv in (
        ["list"],
        ["install", "--dry-run", "--prefix", str(home)],
        ["run", "--profile", "evil"],
        ["run", "-f", "c", "--profile", "evil"],
    ):
        done = program(*argv, folder=hostile)
        assert done.returncode == (2 if argv[0] == "run" else 0), done
        assert "evil()" not in done.stdout + done.stderr
        assert "SystemExit" not in done.stderr
    assert "no profile 'evil'" in program("run", "--profile", "evil", folder=hostile).stderr


@pytest.mark.slow
def test_the_console_script_is_the_same_program(home: Path) -> None:
    script = Path(sys.executable).with_name("async-kernel")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == program("--version", folder=home).stdout
