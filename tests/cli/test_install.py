"""`install`, `list` and `uninstall`, as a new user goes through them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from async_kernel.cli import install, render

Run = Callable[..., tuple[int, str, str]]


def listed(run: Run) -> dict[str, tuple[str, str]]:
    """Profile -> kernelspec and state, as `list --json` says."""
    code, out, err = run("list", "--json")
    assert (code, err) == (0, "")
    return {row["profile"]: (row["name"], row["state"]) for row in json.loads(out)}


@pytest.fixture
def kernels(home: Path) -> Path:
    return home / "share/jupyter/kernels"


def test_install_list_uninstall(run: Run, home: Path, kernels: Path) -> None:
    """The whole way, and back to how it was."""
    assert run("install", "--prefix", str(home), "--profile", "default", "--profile", "trio") == (
        0,
        f"installed  async  {kernels}/async\ninstalled  async-trio  {kernels}/async-trio\n",
        "",
    )
    assert run("install", "--prefix", str(home))[1] == f"unchanged  async  {kernels}/async\n"
    found = listed(run)
    assert found["default"] == ("async", "ok")
    assert found["trio"] == ("async-trio", "ok")
    assert found["fast"] == ("-", "not installed")
    assert run("uninstall", "async-trio", "async", "--yes")[1] == (
        f"removed    async-trio  {kernels}/async-trio\nremoved    async  {kernels}/async\n"
    )
    assert os.listdir(kernels) == []


def test_states(run: Run, home: Path, kernels: Path) -> None:
    """Each thing that makes a kernel not start, or start as something else, is seen before it is tried."""
    for name in ("a", "b", "c", "d", "e"):
        (home / f"profiles/{name}.yaml").write_text("extends: default")
    (home / "profiles/d.yaml").write_text(f"python: {home}/no-python")
    (home / "profiles/new.yaml").write_text("backend: tri")
    argv = [part for name in ("a", "b", "c", "d", "e") for part in ("--profile", name)]
    assert run("install", "--prefix", str(home), *argv)[0] == 0
    (home / "profiles/b.yaml").write_text("extends: default\nquiet: false\n")
    (home / "profiles/c.yaml").unlink()
    (home / "profiles/e.yaml").write_text("quiet: maybe")
    found = listed(run)
    fault = f"profile faulty: {home}/profiles/e.yaml:1:8: error: quiet: expected true or false, got 'maybe'"
    assert {name: found[name][1] for name in ("a", "b", "c", "d", "e")} == {
        "a": "ok",
        "b": "profile changed since install",
        "c": "profile missing",
        "d": "interpreter missing",
        "e": fault,
    }
    assert found["new"][1].startswith("profile faulty: ")


def test_the_table_is_plain_where_it_is_piped(run: Run, home: Path) -> None:
    (home / "profiles/p.yaml").write_text("run_modes: {execute_request: task, control: {debug_request: task}}")
    code, out, _ = run("list")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split("  ")[0] == "NAME"
    row = next(line for line in lines if line.startswith("-") and "profiles/p.yaml" in line)
    assert "execute_request=task, control.debug_request=task" in row
    assert "\x1b" not in out


def test_the_table_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour on a terminal only, and not where it is not wanted."""
    monkeypatch.setattr(render, "in_colour", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert "not installed" in run("list")[1]


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert render.in_colour()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not render.in_colour()


def test_the_name_and_the_title_can_be_chosen(run: Run, home: Path, kernels: Path) -> None:
    argv = ("install", "--prefix", str(home), "--name", "mine", "--display-name", "My kernel")
    assert run(*argv)[0] == 0
    assert json.loads((kernels / "mine/kernel.json").read_text())["display_name"] == "My kernel"
    code, _, err = run(*argv, "--profile", "trio", "--profile", "fast")
    assert (code, "--name and --display-name are for one profile" in err) == (2, True)


def test_faulty_profiles_write_nothing(run: Run, home: Path, kernels: Path) -> None:
    """The faults of all of them at once, and the good ones wait."""
    (home / "profiles/a.yaml").write_text("quiet: maybe")
    (home / "profiles/b.yaml").write_text("stdin: maybe")
    code, out, err = run("install", "--prefix", str(home), "--profile", "default", "--profile", "a", "--profile", "b")
    assert (code, out, err.count("\n"), kernels.exists()) == (2, "", 2, False)


def test_two_profiles_for_one_kernelspec(run: Run, home: Path, kernels: Path) -> None:
    """The second would replace the first without a word."""
    (home / "trio.yaml").write_text("extends: trio")
    code, _, err = run("install", "--prefix", str(home), "--profile", "trio", "--profile", str(home / "trio.yaml"))
    assert code == 2
    assert err == "async-kernel: error: two profiles would write the kernelspec 'async-trio': give one a --name\n"
    assert not kernels.exists()


def test_all(run: Run, home: Path, kernels: Path) -> None:
    (home / "profiles/mine.yaml").write_text("extends: default")
    assert run("install", "--prefix", str(home), "--all")[0] == 0
    assert set(os.listdir(kernels)) >= {"async", "async-trio", "async-fast", "async-mine"}


def test_dry_run_writes_nothing_and_shows_it(run: Run, home: Path, kernels: Path) -> None:
    argv = ("install", "--prefix", str(home), "--dry-run")
    out = run(*argv)[1]
    assert not kernels.exists()
    assert out.startswith(f"would install  async  {kernels}/async\n")
    assert '+  "display_name": "Python (async)",' in out
    assert f"adds {kernels}/async/logo-svg.svg" in out
    run(*argv[:-1])
    assert run(*argv)[1] == f"unchanged  async  {kernels}/async\n"
    out = run(*argv, "--display-name", "Other")[1]
    assert '-  "display_name": "Python (async)",\n+  "display_name": "Other",' in out


def test_for_the_user(run: Run, home: Path) -> None:
    assert run("install", "--user")[1] == f"installed  async  {home}/data/kernels/async\n"


def test_a_backend_that_is_not_there_is_told_when_installing(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "lacks", lambda _: "no trio")
    code, _, err = run("install", "--prefix", str(home), "--profile", "trio")
    assert (code, err) == (0, "async-kernel: warning: async-trio will not start: no trio\n")


@pytest.mark.parametrize("name", ["..", "a,", "/etc", "../async", "", "async/"])
def test_uninstall_cannot_be_talked_into_anything(run: Run, home: Path, kernels: Path, name: str) -> None:
    run("install", "--prefix", str(home))
    code, out, err = run("uninstall", "async", name, "--yes")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is not a name" in err
    assert os.listdir(kernels) == ["async"]


def test_uninstall_asks(run: Run, home: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No is no, and so is nobody there to ask."""
    run("install", "--prefix", str(home))

    def answer(yes: bool) -> None:
        def confirm(text: str, abort: bool) -> None:
            assert (text, abort) == ("Remove 1 kernelspec?", True)
            if not yes:
                raise click.Abort

        monkeypatch.setattr(click, "confirm", confirm)

    answer(yes=False)
    code, out, err = run("uninstall", "async")
    assert (code, err, os.listdir(kernels)) == (1, "Aborted: nothing was changed.\n", ["async"])
    assert str(kernels / "async") in out
    answer(yes=True)
    assert (run("uninstall", "async")[0], os.listdir(kernels)) == (0, [])


def test_ctrl_c_at_the_question(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("install", "--prefix", str(home))

    def interrupted(*_: Any, **__: Any) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise click.Abort from None

    monkeypatch.setattr(click, "confirm", interrupted)
    assert run("uninstall", "async")[0] == 130


def spec_of(path: Path) -> dict[str, Any]:
    return json.loads((path / "kernel.json").read_bytes())


def test_a_chooser(run: Run, home: Path, kernels: Path) -> None:
    """One entry in the launcher for all profiles, with the form that the proposal describes."""
    (home / "profiles/mine.yaml").write_text("description: My own")
    assert (
        run("install", "--prefix", str(home), "--chooser")[1] == f"installed  async-chooser  {kernels}/async-chooser\n"
    )
    spec = spec_of(kernels / "async-chooser")
    assert spec["argv"][-2:] == ["--profile", "{profile}"]
    assert spec["display_name"] == "Python (async, choose a profile)"
    schema = spec["metadata"]["parameters"]
    profile = schema["properties"]["profile"]
    assert (schema["type"], profile["type"], profile["default"]) == ("object", "string", "default")
    assert profile["enum"][0] == "default"
    assert {"fast", "mine", "trio"} < {*profile["enum"]}
    assert "mine: My own" in profile["description"]
    assert run("install", "--prefix", str(home), "--chooser")[1].startswith("unchanged  async-chooser")
    row = next(row for row in json.loads(run("list", "--json")[1]) if row["name"] == "async-chooser")
    assert (row["profile"], row["state"], row["profiles"]) == ("(chooser)", "ok", profile["enum"])
    assert "async-chooser  Python (async, choose a profile)  (chooser)" in run("list")[1]
    assert run("uninstall", "async-chooser", "--yes")[0] == 0
    assert os.listdir(kernels) == []


def chooser_state(run: Run) -> str:
    return next(row["state"] for row in json.loads(run("list", "--json")[1]) if row["profile"] == "(chooser)")


@pytest.mark.parametrize(("options", "added"), [((), "profile changed since install"), (("--profile", "mine"), "ok")])
def test_a_chooser_that_no_longer_fits(run: Run, home: Path, options: tuple[str, ...], added: str) -> None:
    """A profile that has changed, is new or gone: what is offered is not what is there."""
    mine, new = home / "profiles/mine.yaml", home / "profiles/new.yaml"
    mine.write_text("quiet: true")
    install = ("install", "--prefix", str(home), "--chooser", *options)
    run(*install)
    assert chooser_state(run) == "ok"
    new.write_text("{}")
    assert chooser_state(run) == added
    new.unlink()
    mine.write_text("quiet: false")
    assert chooser_state(run) == "profile changed since install"
    assert run(*install)[1].startswith("updated")
    mine.write_text("quiet: maybe")
    assert chooser_state(run).startswith(f"profile faulty: {mine}:1:8: error: quiet")
    mine.unlink()
    assert chooser_state(run) == "profile missing: mine"


def test_a_chooser_under_another_name(run: Run, home: Path, kernels: Path) -> None:
    argv = (
        "install",
        "--prefix",
        str(home),
        "--chooser",
        "--profile",
        "trio",
        "--name",
        "mine",
        "--display-name",
        "Me",
    )
    assert run(*argv)[0] == 0
    spec = spec_of(kernels / "mine")
    assert spec["display_name"] == "Me"
    assert spec["metadata"]["parameters"]["properties"]["profile"]["enum"] == ["default", "trio"]


def test_a_provisioner_can_not_be_chosen(run: Run, home: Path, kernels: Path) -> None:
    """It starts the kernel, so it must be known before."""
    (home / "profiles/far.yaml").write_text("provisioner: {name: far}")
    code, _, err = run("install", "--prefix", str(home), "--chooser")
    assert (code, "does not offer 'far': its provisioner" in err) == (0, True)
    assert chooser_state(run) == "ok"
    (home / "profiles/default.yaml").write_text("provisioner: {name: far}")
    assert chooser_state(run) == "profile changed since install"
    code, _, err = run("install", "--prefix", str(home), "--chooser")
    assert (code, "the profile 'default' has a provisioner" in err) == (2, True)


def test_a_client_that_knows_no_parameters_gets_the_default(run: Run, launched: Any) -> None:
    for argv in (("-f", "c.json", "--profile", "{profile}"), ("--profile", "{profile}", "--backend", "asyncio")):
        assert run("run", *argv)[0] == 0
        assert launched.profile.name == "default"


def test_all_with_a_faulty_profile_installs_none(run: Run, home: Path, kernels: Path) -> None:
    """Half of them would look as if it had worked."""
    (home / "profiles/a.yaml").write_text("quiet: maybe")
    (home / "profiles/b.yaml").write_text("logo: no.svg")
    for options in (("--all",), ("--chooser",)):
        code, out, err = run("install", "--prefix", str(home), *options)
        assert (code, out, kernels.exists()) == (2, "", False)
        assert f"{home}/profiles/a.yaml:1:8: error: quiet" in err
    code, _, err = run("install", "--prefix", str(home), "--all")
    assert f"{home}/profiles/b.yaml:1:7: error: logo" in err


def test_all_that_is_in_the_way_is_told_before_anything_is_written(run: Run, home: Path, kernels: Path) -> None:
    for name in ("async", "async-trio"):
        (kernels / name).mkdir(parents=True)
    argv = ("install", "--prefix", str(home), "--profile", "fast", "--profile", "default", "--profile", "trio")
    for options in ((), ("--dry-run",)):
        code, out, err = run(*argv, *options)
        assert (code, out, err.count("was not written by async-kernel")) == (2, "", 2)
    assert not (kernels / "async-fast").exists()
    assert run(*argv, "--replace")[0] == 0


def test_what_others_put_into_a_kernelspec(run: Run, home: Path, kernels: Path) -> None:
    """It is told, and nothing is removed, unless that is asked for."""
    run("install", "--prefix", str(home), "--profile", "default", "--profile", "trio")
    (kernels / "async/notes.txt").write_text("mine")
    code, out, err = run("uninstall", "async-trio", "async", "--yes")
    assert (code, out) == (2, "")
    assert f"{kernels}/async is not as async-kernel wrote it: notes.txt was added" in err
    assert sorted(os.listdir(kernels)) == ["async", "async-trio"]
    dry = run("install", "--prefix", str(home), "--replace", "--dry-run", "--display-name", "x")[1]
    assert f"removes {kernels}/async/notes.txt" in dry
    assert run("uninstall", "async", "--yes", "--force", "--json")[0] == 0
    assert run("uninstall", "async-trio", "--json")[0] == 2


def test_what_was_done_as_json(run: Run, home: Path, kernels: Path) -> None:
    argv = ("install", "--prefix", str(home), "--profile", "default", "--profile", "trio", "--json")
    for options, state in ((("--dry-run",), "would install"), ((), "installed"), ((), "unchanged")):
        assert json.loads(run(*argv, *options)[1]) == [
            {"name": name, "profile": profile, "path": str(kernels / name), "state": state}
            for name, profile in (("async", "default"), ("async-trio", "trio"))
        ]
    assert json.loads(run("uninstall", "async", "--yes", "--json")[1]) == [
        {"name": "async", "path": str(kernels / "async"), "state": "removed"}
    ]


def test_a_diff_on_a_terminal(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "in_colour", lambda: True)
    run("install", "--prefix", str(home))
    out = run("install", "--prefix", str(home), "--dry-run", "--display-name", "Other")[1]
    assert '\x1b[31m-  "display_name": "Python (async)",\x1b[0m\n' in out
    assert '\x1b[32m+  "display_name": "Other",\x1b[0m\n' in out


def test_two_kernelspecs_of_one_name(run: Run, home: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter starts the one that it finds first, and the other seems to do nothing."""
    assert run("install", "--prefix", str(home))[2] == ""
    code, _, err = run("install", "--user")
    assert (code, err) == (
        0,
        f"async-kernel: warning: async is hidden: Jupyter finds {kernels}/async first; "
        "choose another --name, or uninstall that\n",
    )
    code, out, err = run("uninstall", "async", "--yes")
    assert (code, out) == (0, f"removed    async  {kernels}/async\n")
    assert err == f"async-kernel: warning: there is another async, which Jupyter finds now: {home}/data/kernels/async\n"
    assert run("uninstall", "async", "--yes") == (0, f"removed    async  {home}/data/kernels/async\n", "")


def test_a_kernelspec_that_is_nearly_there(run: Run, home: Path) -> None:
    run("install", "--user")
    assert "did you mean 'async'?" in run("uninstall", "asinc", "--user")[2]
