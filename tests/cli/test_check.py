"""`run --check`: whether a kernel of a profile works here, and if not, why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from async_kernel.cli import check

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]
PROFILES = sorted(path.stem for path in (Path(__file__).parents[2] / "profiles").glob("*.yaml"))


def states(out: str) -> list[str]:
    """The last column."""
    return [line.rpartition("  ")[2] for line in out.splitlines()[1:]]


def test_the_built_in_profiles_are_these() -> None:
    assert PROFILES == ["agent", "concurrent", "default", "fast", "secure", "threads", "trio"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_built_in_profile_passes(run: Run, home: Path, profile: str, backend: str) -> None:
    """Executes, is interrupted and shuts down with the client that Jupyter has; the user's history is left alone."""
    code, out, err = run("run", "--check", "--profile", profile, "--backend", backend)
    assert (code, err) == (0, ""), out
    assert states(out) == ["ok"] * 5


def test_a_kernel_that_does_not_start_says_why(run: Run, home: Path) -> None:
    """What is wrong, where, and what to do: the kernel's own words; the other steps are not tried."""
    profile = home / "profiles/p.yaml"
    profile.write_text("kernel_factory: absent.py:make\n")
    code, out, err = run("run", "--check", "--profile", "p")
    assert (code, states(out)) == (1, ["failed", *["not tried"] * 4])
    assert "exit code 2" in out
    assert err.startswith(f"async-kernel: the kernel said: {profile}:1:17: error: kernel_factory ")


def test_what_is_broken_in_the_environment_is_named(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython is imported when the channels are open already: the kernel dies with a client on the line."""
    (home / "site/IPython").mkdir(parents=True)
    (home / "site/IPython/__init__.py").write_text("raise ImportError('IPython is broken')")
    monkeypatch.setenv("PYTHONPATH", str(home / "site"), prepend=":")
    code, out, err = run("run", "--check")
    assert code == 1
    assert "failed" in states(out)
    assert "ended with exit code 1" in out
    assert err.splitlines()[-1] == "async-kernel: the kernel said: ImportError: IPython is broken"


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("        raise ZeroDivisionError('of the user')", "expected status ok, got ZeroDivisionError: of the user"),
        ("        return {'status': 'ok'}", "the cell ended, and its output was ''"),
    ],
)
def test_a_kernel_that_does_not_do_its_work_fails(run: Run, home: Path, override: str, fault: str) -> None:
    """A subclass with a fault: the step that shows it is the one that fails, and no process is left."""
    (home / "profiles/mine.py").write_text(
        "from async_kernel import Kernel\n\n\nclass Mine(Kernel):\n    async def execute_request(self, job, /):\n"
        f"{override}\n\n\nmake = Mine\n"
    )
    (home / "profiles/p.yaml").write_text("kernel_factory: mine.py:make\n")
    code, out, _ = run("run", "--check", "--profile", "p")
    assert (code, states(out)) == (1, ["ok", "ok", "failed", "not tried", "not tried"])
    assert fault in out


def test_what_can_not_be_checked_as_asked(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("run", "--check", "--profile", "nope")[0] == 2
    assert "leave -f out" in run("run", "--check", "-f", "x.json")[2]


def test_a_kernel_that_hangs_is_given_up(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself always ends, and ends what it has started."""
    monkeypatch.setattr(check, "SECONDS", 1.5)
    (home / "profiles/p.yaml").write_text("startup: ['import time; time.sleep(60)']\n")
    code, out, _ = run("run", "--check", "--profile", "p")
    assert (code, states(out)[:3]) == (1, ["ok", "ok", "failed"])
    assert "no answer within 1.5 s" in out
