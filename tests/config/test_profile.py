"""What the layers of a profile make of each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from async_kernel.config.layers import Override
from async_kernel.config.problems import ProfileError
from async_kernel.config.profile import Profile, load_profile, parse_set
from async_kernel.config.schema import SCHEMA

LoadText = Callable[..., Profile]
Write = Callable[[str, str], str]


def test_the_layers_in_their_order(load: LoadText, write: Write, folder: Path) -> None:
    """Each layer is over the one before it: otherwise what one says on the command line is ignored in silence."""
    write("base", "stdin: deny\nhistory: off\ncompleter: off\nlog_level: error\ncell_timeout: 1\n")
    (folder / "p.local.yaml").write_text("completer: ipython\nlog_level: info\ncell_timeout: 3\n")
    profile = load(
        "extends: base\nhistory: memory\ncompleter: jedi\nlog_level: critical\ncell_timeout: 2\n",
        "cell_timeout=5",
        ASYNC_KERNEL_LOG_LEVEL="debug",
        ASYNC_KERNEL_CELL_TIMEOUT="4",
    )
    keys = ("transport", "stdin", "history", "completer", "log_level", "cell_timeout")
    assert {key: (profile.values[key], str(profile.origin(key))) for key in keys} == {
        "transport": ("tcp", "default"),
        "stdin": ("deny", f"extends ({folder}/base.yaml:1:8)"),
        "history": ("memory", f"profile ({folder}/p.yaml:2:10)"),
        "completer": ("ipython", f"local ({folder}/p.local.yaml:1:12)"),
        "log_level": ("debug", "environment (ASYNC_KERNEL_LOG_LEVEL)"),
        "cell_timeout": (5.0, "command line (--set cell_timeout=5)"),
    }


def test_mappings_merge_lists_replace_plus_appends_null_resets(load: LoadText, write: Write) -> None:
    """The four rules of merging."""
    write(
        "base", "run_modes: {execute_request: task, control: {debug_request: task}}\nextensions: [a, b]\nquiet: false\n"
    )
    profile = load(
        "extends: base\nrun_modes: {execute_request: null, shell: {comm_msg: task}}\nextensions: [c]\nquiet: null\n"
    )
    assert profile.values["run_modes"] == {"shell": {"comm_msg": "task"}, "control": {"debug_request": "task"}}
    assert profile.values["extensions"] == ["c"]
    assert profile.values["quiet"] is True
    assert str(profile.origin("quiet")) == "default"
    assert load("extends: base\nextensions+: [c]").values["extensions"] == ["a", "b", "c"]
    assert load("extends: base", "extensions+=[c]").values["extensions"] == ["a", "b", "c"]
    assert load("extensions+: [c]").values["extensions"] == ["c"]


def test_a_message_type_without_a_channel_is_the_shells(load: LoadText, write: Write) -> None:
    """The two ways to say it must not live beside each other after a merge."""
    write("base", "run_modes: {shell: {execute_request: thread}}")
    assert load("extends: base\nrun_modes: {execute_request: task}").settings()["run_modes"] == {
        "shell": {"execute_request": "task"}
    }


def test_later_parents_win_and_own_keys_win_over_all(load: LoadText, write: Write) -> None:
    write("a", "history: off\nstdin: deny\ncompleter: off")
    write("b", "history: memory\ncompleter: ipython")
    profile = load("extends: [a, b]\ncompleter: jedi")
    assert [profile.values[key] for key in ("history", "stdin", "completer")] == ["memory", "deny", "jedi"]


def test_a_diamond_of_parents_is_no_cycle(load: LoadText, write: Write) -> None:
    write("root", "quiet: false")
    write("a", "extends: root")
    write("b", "extends: root")
    assert load("extends: [a, b]").values["quiet"] is False


def test_a_parent_is_looked_up_beside_the_file_first(folder: Path, environ: dict[str, str]) -> None:
    """A project's profiles may extend each other without being installed anywhere."""
    (folder / "project").mkdir()
    (folder / "base.yaml").write_text("history: off")
    (folder / "project/base.yaml").write_text("history: memory")
    (folder / "project/p.yaml").write_text("extends: base")
    assert load_profile(str(folder / "project/p.yaml"), environ=environ).values["history"] == "memory"


def test_ones_own_default_may_extend_the_one_that_comes_with_the_kernel(folder: Path, environ: dict[str, str]) -> None:
    """The way to change the kernel `async` for oneself."""
    (folder / "default.yaml").write_text("extends: default\nhistory: off\n")
    profile = load_profile("default", environ=environ)
    assert (profile.path, profile.values["history"]) == (str(folder / "default.yaml"), "off")
    assert profile.values["display_name"] == "Python (async)"


def test_settings_has_what_was_said_and_always_the_backend(load: LoadText) -> None:
    """The defaults of a kernel class of one's own stay; the backend is never guessed from a name."""
    assert load("extends: []").settings() == {"kernel_name": "async-p", "anyio_backend": "asyncio"}
    profile = load(
        "backend: trio\nbackend_options: {strict_exception_groups: true}\ncell_timeout: 3\noutput_limit: 10MB\n"
        "settings: {shell.stop_on_error_time_offset: 0.5}\nip: 1.2.3.4\n"
    )
    assert profile.settings() == {
        "kernel_name": "async-p",
        "anyio_backend": "trio",
        "anyio_backend_options": {"trio": {"strict_exception_groups": True}},
        "ip": "1.2.3.4",
        "shell.timeout": 3.0,
        "output_limit": 10_000_000,
        "shell.stop_on_error_time_offset": 0.5,
    }
    assert "ip" not in load("transport: ipc\nip: 127.0.0.1").settings()


def test_where_a_refused_setting_was_written(load: LoadText, folder: Path) -> None:
    """The kernel knows an attribute, the user a place in a file."""
    profile = load("settings:\n  shell.foo: 1\ncell_timeout: 2")
    assert str(profile.origin_of("shell.foo").mark) == f"{folder}/p.yaml:2:14"
    assert str(profile.origin_of("shell.timeout").mark) == f"{folder}/p.yaml:3:15"
    assert str(profile.origin("run_modes.execute_request")) == "default"
    with pytest.raises(KeyError):
        profile.origin("nonsense")


def test_startup_code_keeps_its_place_and_files_become_absolute(load: LoadText, folder: Path) -> None:
    """A traceback in start-up code must say where the code stands."""
    assert load("startup:\n  - import os\n  - file: sub/x.py\n").values["startup"] == [
        {"code": "import os", "origin": f"{folder}/p.yaml:2:5"},
        {"file": f"{folder}/sub/x.py", "origin": f"{folder}/p.yaml:3:5"},
    ]


def test_paths_are_relative_to_the_file_that_says_them(load: LoadText, folder: Path) -> None:
    profile = load("python: .venv/bin/python\nlogo: /x/logo.svg\nkernel_factory: f.py:make")
    assert profile.values["python"] == f"{folder}/.venv/bin/python"
    assert profile.values["logo"] == "/x/logo.svg"
    assert profile.values["kernel_factory"] == f"{folder}/f.py:make"
    assert load("{}", "python=bin/py").values["python"] == os.path.abspath("bin/py")
    assert load("python: ~/py").values["python"] == os.path.expanduser("~/py")


def test_the_environment_that_a_profile_makes(load: LoadText, write: Write) -> None:
    write("base", "env: {A: from base, GONE: x, PATH: {prepend: [/base]}}")
    profile = load(
        "extends: base\nenv:\n  OMP: 4\n  GONE: null\n"
        "  PATH: {prepend: [/one, /two]}\n  LIB: {append: /lib}\n  S: {set: ''}\n"
    )
    assert profile.environment({"PATH": "/usr/bin:/one", "GONE": "1"}) == {
        "A": "from base",
        "GONE": None,
        "PATH": "/one:/two:/usr/bin",
        "OMP": "4",
        "LIB": "/lib",
        "S": "",
    }


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("a ${A} b ${A}", {"A": "x"}, "a x b x"),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-}", {}, ""),
        ("${A:?m}", {"A": "x"}, "x"),
        ("$$ $${A} $A $", {"A": "x"}, "$ ${A} $A $"),
        ("${A}", {"A": "${B}"}, "${B}"),
        ("${A:-a: b # c}", {}, "a: b # c"),
    ],
)
def test_interpolation(load: LoadText, text: str, variables: dict[str, str], expected: str) -> None:
    assert load(f"description: '{text}'", **variables).values["description"] == expected


def test_interpolation_happens_once(load: LoadText) -> None:
    """What an alias names is not interpolated again: a variable's text would be read as references."""
    profile = load("settings:\n  a: &x {b: {c: '$${A} ${A}'}}\n  d: *x\n", A="${A}")
    assert profile.values["settings"] == {"a": {"b": {"c": "${A} ${A}"}}, "d": {"b": {"c": "${A} ${A}"}}}


def test_interpolation_is_for_values_of_every_kind(load: LoadText) -> None:
    """`cell_timeout: ${T:-30}` is a number; in quotes it stays text; keys are left alone."""
    profile = load(
        "cell_timeout: ${T:-30}\nquiet: ${Q}\nsettings: {a: '${T:-30}', b: [\"${T:-x}\"]}\nenv: {A: '${T:-1}'}",
        Q="false",
    )
    assert profile.values["cell_timeout"] == 30.0
    assert profile.values["quiet"] is False
    assert profile.values["settings"] == {"a": "30", "b": ["x"]}
    assert profile.values["env"] == {"A": {"set": "1"}}


def test_a_required_variable_that_a_higher_layer_replaces_is_not_required(load: LoadText, write: Write) -> None:
    write("base", "env: {TOKEN: '${TOKEN:?set a token}'}\ndescription: ${D:?say something}")
    profile = load("extends: base\nenv: {TOKEN: mine}\ndescription: said")
    assert (profile.values["env"], profile.values["description"]) == ({"TOKEN": {"set": "mine"}}, "said")


@pytest.mark.parametrize(
    "text",
    [
        *(f"{key}: ${{NO:?m}}" for key in SCHEMA),
        *(f"{key}+: ${{NO:?m}}" for key in ("extensions", "startup")),
        "extends: ['${NO:?m}']",
        "extends: default\nextensions: ${NO:?m}",
        "run_modes: {execute_request: '${NO:?m}'}",
        "run_modes: {control: '${NO:?m}'}",
        "env: {A: '${NO:?m}'}",
        "env: {A: {prepend: '${NO:?m}'}}",
        "env: {A: {prepend: ['${NO:?m}']}}",
        "startup: [{file: '${NO:?m}'}]",
        "settings: {a: {b: ['${NO:?m}']}}",
        "backend_options: {use_uvloop: '${NO:?m}'}",
    ],
)
def test_a_required_variable_is_required_wherever_it_stands(load: LoadText, text: str) -> None:
    with pytest.raises(ProfileError, match=r"p\.yaml:.*: error: \$\{NO\} is not set: m$"):
        load(text)


def test_a_variable_that_is_not_set_is_told(load: LoadText, folder: Path) -> None:
    profile = load("description: a${NOT_SET}b")
    assert profile.values["description"] == "ab"
    assert [str(each) for each in profile.warnings] == [
        f"{folder}/p.yaml:1:14: warning: ${{NOT_SET}} is not set: nothing is put in its place"
    ]


def test_a_variable_of_ours_that_sets_nothing_is_told(load: LoadText) -> None:
    """A typing error in a variable's name would otherwise be a setting that is silently ignored."""
    assert [str(each) for each in load("{}", ASYNC_KERNEL_BAKEND="trio").warnings] == [
        "ASYNC_KERNEL_BAKEND: warning: the variable sets nothing: there is no such key "
        "(did you mean 'ASYNC_KERNEL_BACKEND'?)"
    ]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("run_modes.execute_request=task", "run_modes", {"shell": {"execute_request": "task"}}),
        ("run_modes.control.debug_request=task", "run_modes", {"control": {"debug_request": "task"}}),
        ("run_modes={execute_request: task}", "run_modes", {"shell": {"execute_request": "task"}}),
        ("settings.shell.x=[1, 2]", "settings", {"shell.x": [1, 2]}),
        ("settings.a=b: c", "settings", {"a": {"b": "c"}}),
        ("quiet=0", "quiet", False),
        ("quiet=yes", "quiet", True),
        ("description=[not closed", "description", "[not closed"),
        ("description=a=b", "description", "a=b"),
        ("env.A=1", "env", {"A": {"set": "1"}}),
        ("history=off", "history", "off"),
    ],
)
def test_set_on_the_command_line(load: LoadText, text: str, key: str, value: object) -> None:
    assert load("{}", text).values[key] == value


def test_what_the_command_line_cannot_say(load: LoadText) -> None:
    with pytest.raises(ProfileError, match=r"^--set extends=x: error: extends: only a profile's file can say this$"):
        load("{}", "extends=x")
    with pytest.raises(ProfileError, match=r"^--set quiet: error: expected KEY=VALUE$"):
        parse_set("quiet")


def test_an_option_is_named_as_it_was_said(write: Write, environ: dict[str, str]) -> None:
    with pytest.raises(ProfileError, match=r"^--backend tri: error: backend: 'tri' is not one of asyncio, trio$"):
        load_profile(write("p", ""), overrides=[Override("--backend tri", "backend", "tri")], environ=environ)


def test_a_byte_order_mark_is_no_fault(folder: Path, environ: dict[str, str]) -> None:
    """Some editors on Windows write one."""
    (folder / "p.yaml").write_bytes(b"\xef\xbb\xbfquiet: false\r\n")
    assert load_profile("p", environ=environ).values["quiet"] is False


def test_a_profile_is_frozen(load: LoadText) -> None:
    profile = load("")
    with pytest.raises(AttributeError, match="frozen"):
        profile.name = "x"
    with pytest.raises(TypeError):
        profile.values["quiet"] = False  # pyright: ignore[reportIndexIssue]


def test_one_profile_does_not_change_the_defaults_of_another(load: LoadText) -> None:
    load("").values["settings"]["x"] = 1
    load("").values["extensions"].append("x")
    assert (load("").values["settings"], load("").values["extensions"]) == ({}, [])


@pytest.mark.parametrize("name", ["agent", "concurrent", "default", "fast", "secure", "threads", "trio"])
def test_the_profiles_that_come_with_the_kernel(name: str, environ: dict[str, str]) -> None:
    """They warn of nothing."""
    profile = load_profile(name, environ=environ)
    assert (profile.name, profile.reference) == (name, name)
    assert profile.values["backend"] == ("trio" if name == "trio" else "asyncio")
    assert not profile.warnings
    assert profile.spec_name == ("async" if name == "default" else f"async-{name}")
