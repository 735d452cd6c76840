"""`profile list, show, validate, new, path` and `schema`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from async_kernel.cli import checks, render
from async_kernel.config import discovery
from async_kernel.config.json_schema import json_schema
from async_kernel.config.profile import load_profile
from async_kernel.config.schema import SCHEMA
from tests.config.every_key import EVERY_KEY, write_beside
from tests.config.test_faults import FAULTY

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def profiles(home: Path) -> Path:
    return home / "profiles"


# schema


def test_the_schema_is_printed(run: Run) -> None:
    code, out, err = run("schema")
    assert (code, err, json.loads(out)) == (0, "", json_schema())


# list and path


def test_list(run: Run, profiles: Path) -> None:
    """What can be used by name, from where, and what is wrong with it."""
    (profiles / "mine.yaml").write_text("extends: trio\ndescription: My own")
    (profiles / "bad.yaml").write_text("quiet: maybe")
    rows = {row["name"]: row for row in json.loads(run("profile", "list", "--json")[1])}
    assert {**rows["mine"]} == {
        "name": "mine",
        "description": "My own",
        "backend": "trio",
        "transport": "tcp",
        "from": "ASYNC_KERNEL_PROFILES",
        "file": f"{profiles}/mine.yaml",
        "state": "ok",
    }
    assert rows["bad"]["state"].startswith(f"faulty: {profiles}/bad.yaml:1:8: error: quiet")
    assert rows["default"]["from"] == "built-in"
    table = run("profile", "list")[1].splitlines()
    assert table[0].split() == ["NAME", "DESCRIPTION", "FROM", "FILE", "STATE"]
    assert any(re.fullmatch(r"mine +My own +ASYNC_KERNEL_PROFILES +\S+/mine\.yaml +ok", line) for line in table)


def test_path(run: Run, home: Path, profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question when a profile is not found, or another one is."""
    (profiles / "mine.yaml").write_text("")
    (home / "project/.async-kernel").mkdir(parents=True)
    (home / "open/.async-kernel").mkdir(parents=True)
    monkeypatch.chdir(home / "project")
    assert run("trust", str(home / "project"))[0] == 0
    rows = json.loads(run("profile", "path", "--json")[1])
    assert [(row["folder"], row["from"], row["profiles"], row["state"]) for row in rows[:3]] == [
        (str(profiles), "ASYNC_KERNEL_PROFILES", 1, "ok"),
        (f"{home}/project/.async-kernel", "trusted", 0, "ok"),
        (f"{home}/config/async-kernel/profiles", "user", 0, "not there"),
    ]
    assert [row["folder"] for row in rows] == list(discovery.folders(os.environ))
    (home / "project").chmod(0o777)
    assert "not searched: " in run("profile", "path")[1]


# new


def test_new(run: Run, home: Path) -> None:
    """From nothing to a profile that an editor completes and checks."""
    folder = home / "config/async-kernel/profiles"
    code, out, err = run("profile", "new", "mine", "--extends", "trio")
    assert (code, err) == (0, "")
    assert out.startswith(f"created  {folder}/mine.yaml\n")
    text = (folder / "mine.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=profile.schema.json\n")
    assert json.loads((folder / "profile.schema.json").read_text()) == json_schema()
    assert sorted(os.listdir(folder)) == ["mine.yaml", "profile.schema.json"]
    assert load_profile("mine").values["backend"] == "trio"
    assert run("profile", "validate", "mine") == (0, "ok  mine\n", "")


def test_every_key_of_a_new_profile_can_be_used(run: Run, home: Path) -> None:
    """Its commented lines are the starting point: what one uncomments must be right."""
    run("profile", "new", "mine")
    file = home / "config/async-kernel/profiles/mine.yaml"
    text, count = re.subn(r"^#(?=[a-z_]+:)", "", file.read_text(), flags=re.MULTILINE)
    assert count == len(SCHEMA) - 1
    file.write_text(text)
    profile, default = load_profile("mine"), load_profile("default")
    assert not profile.warnings
    differ = {key for key, setting in SCHEMA.items() if profile.values[key] != setting.default}
    assert differ == set()
    assert default.name == "default"


def test_new_never_overwrites(run: Run, home: Path) -> None:
    run("profile", "new", "mine")
    file = home / "config/async-kernel/profiles/mine.yaml"
    file.write_text("description: hours of work")
    assert run("profile", "new", "mine") == (2, "", f"async-kernel: error: {file} exists: it is not overwritten\n")
    assert file.read_text() == "description: hours of work"


@pytest.mark.parametrize("name", ["..", "a/b", ".x", "", "a b", "x.local"])
def test_new_wants_a_name(run: Run, home: Path, name: str) -> None:
    """It becomes a path."""
    code, out, err = run("profile", "new", name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (home / "config").exists()


def test_new_wants_a_parent_that_is_there(run: Run, home: Path) -> None:
    assert run("profile", "new", "mine", "--extends", "nope")[0] == 2
    assert not (home / "config").exists()


def test_new_tells_what_it_hides(run: Run) -> None:
    """`new trio` changes what the kernel `async-trio` is, from now on."""
    code, _, err = run("profile", "new", "trio", "--extends", "trio")
    assert code == 0
    builtin = Path(discovery.builtin_folder(), "trio.yaml")
    assert err == f"async-kernel: warning: it is used in the place of {builtin} from now on\n"
    assert load_profile("trio").values["backend"] == "trio"


# show


def test_show_is_the_file(run: Run, profiles: Path) -> None:
    (profiles / "p.yaml").write_text("# why\nquiet: false   # because\nextends: default\n")
    assert run("profile", "show", "p") == (0, "# why\nquiet: false   # because\nextends: default\n", "")


def test_show_the_origins(run: Run, profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of five files, a variable or an option set a value is otherwise a search of an hour."""
    monkeypatch.setenv("ASYNC_KERNEL_STDIN", "deny")
    (profiles / "base.yaml").write_text("extensions: [one]\nenv: {A: '1'}\n")
    (profiles / "p.yaml").write_text(
        "extends: base\nextensions+: [two]\nrun_modes:\n  execute_request: task\nstartup: ['a: b', {file: f.py}]\n"
    )
    (profiles / "p.local.yaml").write_text("history: off")
    code, out, err = run("profile", "show", "p", "--origin", "--set", "completer=off")
    at = str(profiles)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "run_modes:",
        "  shell:",
        f"    execute_request: task  # profile ({at}/p.yaml:4:20)",
        f"history: off  # local ({at}/p.local.yaml:1:10)",
        "stdin: deny  # environment (ASYNC_KERNEL_STDIN)",
        "completer: off  # command line (--set completer=off)",
        "startup:",
        f'  - "a: b"  # profile ({at}/p.yaml:5:11)',
        "  -",
        f"    file: {at}/f.py  # profile ({at}/p.yaml:5:26)",
        "extensions:",
        f"  - one  # extends ({at}/base.yaml:1:14)",
        f"  - two  # profile ({at}/p.yaml:2:15)",
        "env:",
        "  A:",
        f'    set: "1"  # extends ({at}/base.yaml:2:10)',
    ]
    effective = run("profile", "show", "p", "--origin", "--effective")[1].splitlines()
    assert "backend: asyncio  # default" in effective
    facts = json.loads(run("profile", "show", "p", "--origin", "--json")[1])
    assert facts["values"]["extensions"] == ["one", "two"]
    assert facts["values"]["startup"] == ["a: b", {"file": f"{at}/f.py"}]
    assert {"path": ["history"], "layer": "local", "from": f"{at}/p.local.yaml", "line": 1, "column": 10} in facts[
        "origins"
    ]


def test_show_on_a_terminal(run: Run, profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (profiles / "p.yaml").write_text("run_modes: {execute_request: task}")
    monkeypatch.setattr(render, "in_colour", lambda: True)
    monkeypatch.setenv("COLUMNS", "250")
    out = run("profile", "show", "p", "--origin")[1]
    assert "└── run_modes:" in out
    assert "        └── execute_request: task" in out


@pytest.mark.parametrize("name", ["default", "trio", "fast", "every"])
def test_what_is_shown_is_a_profile_again(run: Run, profiles: Path, name: str) -> None:
    """`show --effective > frozen.yaml` is how one keeps what works today."""
    write_beside(profiles)
    (profiles / "every.yaml").write_text(json.dumps(EVERY_KEY))
    for flags in (["--effective"], ["--effective", "--origin"]):
        (profiles / "again.yaml").write_text(run("profile", "show", name, *flags)[1])
        again, first = load_profile("again").values, load_profile(name).values
        for key in SCHEMA:
            drop = [{**entry, "origin": ""} for entry in first[key]] if key == "startup" else first[key]
            new = [{**entry, "origin": ""} for entry in again[key]] if key == "startup" else again[key]
            assert new == drop or key == "extends", key


def test_secrets_are_not_shown(run: Run, profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown is pasted into issues."""
    monkeypatch.setenv("MY_TOKEN", "t0ken-value")
    (profiles / "p.yaml").write_text(
        "description: uses ${MY_TOKEN}   # a comment\n"
        "env:\n  API_KEY: plain-one\n  X_PASSWORD: {set: 'quoted ''one'}\n  SECRET_PATH: {prepend: [a-path]}\n"
        "  OPEN: 'yes'\n  LONG_SECRET: |\n    block\n    one\n  AFTER: x\n"
        "provisioner: {name: far, config: {password: 1234, user: me}}\n"
    )
    shown = [run("profile", "show", "p", *flags)[1] for flags in ([], ["--effective"], ["--origin"], ["--json"])]
    for out in shown:
        for secret in ("t0ken-value", "plain-one", "quoted", "a-path", "block", "1234"):
            assert secret not in out
        assert "***" in out
        assert "yes" in out
        assert "me" in out
    assert '  API_KEY: "***"\n  X_PASSWORD: {set: "***"}\n' in shown[0]
    assert '  LONG_SECRET: "***"\n  AFTER: x\n' in shown[0]
    assert "# a comment" in shown[0]
    assert 'description: "uses ***"' in shown[1]
    (profiles / "again.yaml").write_text(shown[0])
    assert run("profile", "validate", "again")[0] == 0


def test_show_a_faulty_one(run: Run, profiles: Path) -> None:
    (profiles / "p.yaml").write_text("quiet: maybe")
    assert run("profile", "show", "p")[0] == 2


# validate


def test_validate_tells_all_faults_of_all_files(run: Run, profiles: Path) -> None:
    (profiles / "base.yaml").write_text("histori: off\n")
    (profiles / "a.yaml").write_text("extends: base\nquiet: maybe\n")
    (profiles / "b.yaml").write_text("extends: base\nsettings:\n  shell.timout: 1\n  quit: false\nlogo: none.svg\n")
    (profiles / "c.yaml").write_text(
        "logo: none.svg\nsettings: {kernel_nam: x, shell.stop_on_error_time_offset: soon}\n"
    )
    code, out, err = run("profile", "validate", "default", *(str(profiles / f"{name}.yaml") for name in "abc"))
    assert (code, out) == (2, "ok  default\n")
    assert err.splitlines() == [
        f"{profiles}/a.yaml:2:8: error: quiet: expected true or false, got 'maybe'",
        f"{profiles}/base.yaml:1:1: error: unknown key 'histori' (did you mean 'history'?)",
        f"{profiles}/c.yaml:2:24: error: setting 'kernel_nam': Kernel has no setting 'kernel_nam' "
        "(did you mean 'kernel_name'?)",
        f"{profiles}/c.yaml:2:60: error: setting 'shell.stop_on_error_time_offset': expected a float, got 'soon'",
        f"{profiles}/c.yaml:1:7: warning: logo: there is no file '{profiles}/none.svg': `install` will refuse it",
    ]


def test_validate_a_folder_of_faulty_files(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of every file at once, file after file, and nothing else."""
    monkeypatch.delenv("NO", raising=False)
    files: list[str] = []
    expected: list[str] = []
    for number, (text, lines) in enumerate(FAULTY):
        folder = home / f"{number}"
        folder.mkdir()
        (folder / "p.yaml").write_text(text)
        files.append(f"{folder}/p.yaml")
        expected += sorted(f"{folder}/p.yaml:{line}".replace("{folder}", str(folder)) for line in lines)
    assert len(files) >= 40
    code, out, err = run("profile", "validate", *files)
    assert (code, out) == (2, "")
    told = err.splitlines()
    assert sorted(told) == sorted(expected)
    assert list(dict.fromkeys(line.partition("p.yaml:")[0] for line in told)) == [
        f"{home}/{i}/" for i in range(len(files))
    ]


def test_validate_as_json(run: Run, profiles: Path) -> None:
    (profiles / "a.yaml").write_text("quiet: maybe\nlogo: none.svg\n")
    code, out, err = run("profile", "validate", "a", "trio", "--json")
    assert (code, err) == (2, "")
    fault = {"file": f"{profiles}/a.yaml", "line": 1, "column": 8, "severity": "error"}
    assert json.loads(out) == [
        {
            "profile": "a",
            "ok": False,
            "problems": [{**fault, "message": "quiet: expected true or false, got 'maybe'"}],
        },
        {"profile": "trio", "ok": True, "problems": []},
    ]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("settings: {shell.stop_on_error_time_offset: 0.5}", True),
        ("settings: {shell.stop_on_error_time_offset: '0.5'}", True),
        ("settings: {shell.stop_on_error_time_offset: [1]}", False),
        ("settings: {shell.nonsense: 1}", False),
        ("settings: {main.x: 1}", False),
        ("settings: {_trait_values: {}}", False),
        ("settings: {help_links: 3}", False),
        ("settings: {kernel_name: trio}", True),
        ("startup: [{file: none.py}]", False),
        ("startup: [{file: some.py}]", True),
        ("python: none/python", False),
        ("kernel_factory: none.py:make", False),
        ('env: {PATH: {prepend: "a\\0b"}}', False),
        ("cell_timeout: 1" + "0" * 350, False),
        ("extends+: [fast]", False),
        ("extends: null", True),
        ("description: ${NOT_SET}", True),
        ("env: {A: '${NOT_SET:?m}'}", False),
    ],
)
def test_what_validate_accepts_run_accepts(run: Run, profiles: Path, launched: Any, text: str, good: bool) -> None:
    """And the other way round: a check that says something else than the start is worth nothing."""
    (profiles / "some.py").write_text("")
    (profiles / "p.yaml").write_text(text)

    def as_the_kernel_does(profile: Any, _file: Any, _report: Any = None) -> int:
        from async_kernel.kernel import Kernel

        return 0 if Kernel(profile.settings()) else 1

    sys.modules["async_kernel.launch"].launch = as_the_kernel_does  # pyright: ignore[reportAttributeAccessIssue]
    wanted = 0 if good else 2
    assert run("profile", "validate", "p")[0] == wanted
    code, out, err = run("run", "-f", "c.json", "--profile", "p")
    assert (code, out) == (wanted, ""), err
    assert "Traceback" not in err


def test_a_backend_that_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda _name: None)
    code, out, err = run("profile", "validate", "trio")
    assert (code, out) == (2, "")
    assert "needs the package 'trio'" in err


def test_a_factory_whose_package_is_not_there(run: Run, profiles: Path) -> None:
    (profiles / "p.yaml").write_text("kernel_factory: no_such_package.sub:make")
    code, out, err = run("profile", "validate", "p")
    assert (code, out) == (2, "")
    assert err.startswith(f"{profiles}/p.yaml:1:17: error: kernel_factory 'no_such_package.sub:make' can't be loaded: ")


def test_nothing_is_run_for_it(run: Run, profiles: Path) -> None:
    """A profile from a stranger is validated before it is used, not by using it."""
    (profiles / "evil.py").write_text("raise SystemExit('evil')")
    (profiles / "p.yaml").write_text("kernel_factory: evil.py:make\nstartup: [{file: evil.py}]\nsettings: {mine: 1}\n")
    assert run("profile", "validate", "p") == (0, "ok  p\n", "")


def test_the_schema_that_is_written_is_one_that_others_read(run: Run, home: Path) -> None:
    run("profile", "new", "mine")
    schema = json.loads((home / "config/async-kernel/profiles/profile.schema.json").read_text())
    assert jsonschema.Draft7Validator(schema).is_valid(EVERY_KEY)


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv", [["schema"], ["profile", "list"], ["profile", "validate", "fast"], ["trust", "--list"]]
)
def test_what_only_reads_imports_little(home: Path, argv: list[str]) -> None:
    """A quarter of a second is the limit; IPython alone takes longer."""
    code = (
        "import sys; from async_kernel.__main__ import main\n"
        f"assert main({argv!r}) == 0\n"
        "heavy = {'IPython', 'zmq', 'traitlets', 'rich', 'asyncio', 'anyio', 'trio', 'jupyter_client'}\n"
        "found = heavy & {*sys.modules}\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, stdout=subprocess.DEVNULL)
