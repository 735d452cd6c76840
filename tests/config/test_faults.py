"""Faulty profiles and exactly the lines that their authors read."""

# ruff: noqa: E501 - a line that a user reads is easier to compare in one piece

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from async_kernel.config.problems import ProfileError
from async_kernel.config.profile import Profile, load_profile

LoadText = Callable[..., Profile]

FAULTY: list[tuple[str, list[str]]] = [
    # keys
    ("bakend: trio", ["1:1: error: unknown key 'bakend' (did you mean 'backend'?)"]),
    ("qqq: 1", ["1:1: error: unknown key 'qqq'"]),
    (
        "shell.x: 3",
        ["1:1: error: unknown key 'shell.x' (below 'settings', attributes are set: settings.shell.x)"],
    ),
    ("shell.timeout: 3", ["1:1: error: unknown key 'shell.timeout' (the key 'cell_timeout' sets it)"]),
    ("backend+: trio", ["1:1: error: backend+: only a list can be appended to"]),
    ("backend: trio\nbackend: asyncio", ["2:1: error: duplicate key 'backend' (first in line 1)"]),
    (
        "run_modes:\n  a: 1\n  a: 2",
        ["3:3: error: duplicate key 'a' (first in line 2)", "2:3: error: run_modes: unknown message type 'a'"],
    ),
    ("null: 1", ["1:1: error: a key must be text"]),
    ("[a]: 1", ["1:1: error: a key must be text"]),
    ("<<: {quiet: true}", ["1:1: error: merge keys ('<<') are not read: use 'extends'"]),
    # values
    ("backend: tri", ["1:10: error: backend: 'tri' is not one of asyncio, trio"]),
    ("backend: 3", ["1:10: error: backend: expected one of asyncio, trio, got 3"]),
    ("backend: [trio]", ["1:10: error: backend: expected one of asyncio, trio, got a list"]),
    ("history: true", ["1:10: error: history: expected one of file, memory, off, got true"]),
    ("quiet: maybe", ["1:8: error: quiet: expected true or false, got 'maybe'"]),
    ('quiet: "true"', ["1:8: error: quiet: expected true or false, got 'true'"]),
    ("quiet: 1", ["1:8: error: quiet: expected true or false, got 1"]),
    ("cell_timeout: soon", ["1:15: error: cell_timeout: expected a number of seconds, 0 or more, got 'soon'"]),
    ("cell_timeout: -1", ["1:15: error: cell_timeout: expected a number of seconds, 0 or more, got -1"]),
    ("cell_timeout: .inf", ["1:15: error: cell_timeout: expected a number of seconds, 0 or more, got .inf"]),
    (
        "output_limit: 10 apples",
        [
            "1:15: error: output_limit: expected a size: bytes, or a number with kB, MB, GB, KiB, MiB or GiB, got '10 apples'"
        ],
    ),
    ("description: 3", ["1:14: error: description: expected text, got 3 (put it in quotes)"]),
    ("description: {a: b}", ["1:14: error: description: expected text, got a mapping"]),
    (
        "display_name: Python {envv}",
        ["1:15: error: display_name: unknown placeholder {envv} (known: {profile} {env} {python} {backend} {version})"],
    ),
    ("ip: 1 2", ["1:5: error: ip: expected an IP address, a host name or *, got '1 2'"]),
    ("ipython_profile: ../x", ["1:18: error: ipython_profile: expected the name of an IPython profile, got '../x'"]),
    (
        "kernel_factory: my factory",
        ["1:17: error: kernel_factory: expected module:name or file.py:name, got 'my factory'"],
    ),
    ("extensions: autoreload", ["1:13: error: extensions: expected a list of IPython extensions, got 'autoreload'"]),
    ("extensions: [a, b c]", ["1:17: error: extensions[1]: expected the name of an IPython extension, got 'b c'"]),
    ("startup: [{code: x}]", ["1:11: error: startup[0]: expected code (text) or {file: path}, got a mapping"]),
    ("python: ''", ["1:9: error: python: expected a path, got ''"]),
    ("provisioner: {config: {}}", ["1:14: error: provisioner: 'name' is missing"]),
    # run modes
    (
        "run_modes: {execute_request: tsk}",
        ["1:30: error: run_modes.execute_request: 'tsk' is not one of queue, task, thread, direct"],
    ),
    (
        "run_modes: {execut_request: task}",
        ["1:13: error: run_modes: unknown message type 'execut_request' (did you mean 'execute_request'?)"],
    ),
    (
        "run_modes: {execute_request: direct, control: {debug_request: direct}}",
        [
            "1:30: error: run_modes.execute_request: 'direct' is not allowed for it: use one of queue, task, thread",
            "1:63: error: run_modes.control.debug_request: 'direct' is not allowed for it: use one of queue, task, thread",
        ],
    ),
    (
        "run_modes: {debug_request: queue}",
        [
            "1:13: error: run_modes.debug_request: not handled on the shell channel (write 'control: {debug_request: …}')"
        ],
    ),
    (
        "run_modes: {execute_request: task, shell: {execute_request: task}}",
        ["1:44: error: run_modes.shell.execute_request: given twice, with and without its channel"],
    ),
    (
        "run_modes: {control: task}",
        ["1:22: error: run_modes.control: expected a mapping of message types to run modes, got 'task'"],
    ),
    # env
    ("env: {1X: a}", ["1:7: error: env: '1X' is not the name of a variable"]),
    ("env: {A: {st: a}}", ["1:11: error: env.A: 'st' is not one of set, prepend, append"]),
    ("env: {A: {set: a, append: b}}", ["1:10: error: env.A: expected one of set, prepend, append, got 2"]),
    ("env: {A: [b]}", ["1:10: error: env.A: expected text, got a list"]),
    (
        "env: {PATH: {prepend: {}}}",
        ["1:23: error: env.PATH.prepend: expected a path or a list of paths, got a mapping"],
    ),
    # settings
    ("settings: {quiet: true}", ["1:12: error: settings: 'quiet' is set by the key 'quiet'"]),
    ("settings: {shell.timeout: 1}", ["1:12: error: settings: 'shell.timeout' is set by the key 'cell_timeout'"]),
    ("settings: {'a b': 1}", ["1:12: error: settings: 'a b' is not a dotted attribute of the kernel"]),
    ("settings: 3", ["1:11: error: settings: expected a mapping of dotted attributes, got 3"]),
    # backend options are those of the backend
    (
        "backend: trio\nbackend_options: {use_uvloop: true}",
        [
            "2:19: error: backend_options: 'use_uvloop' is not an option of trio "
            "(they are restrict_keyboard_interrupt_to_checkpoints, strict_exception_groups)"
        ],
    ),
    # extends
    ("extends: ''", ["1:10: error: extends: expected the name or path of a profile, got ''"]),
    ("extends: [3]", ["1:11: error: extends[0]: expected the name or path of a profile, got 3 (put it in quotes)"]),
    ("extends: a/b", ["1:10: error: extends: there is no file '{folder}/a/b'"]),
    ("extends: ../..", ["1:10: error: extends: there is no file '{folder}/../..'"]),
    (
        "extends: a$b",
        [
            "1:10: error: extends: 'a$b' is not a name: ASCII letters, digits, '-', '_' and '.' are, not beginning with '-' or '.'"
        ],
    ),
    ("extends: p", ["1:10: error: extends: a cycle: p → p"]),
    # interpolation
    ("description: a ${NO:?tell me}", ["1:14: error: ${NO} is not set: tell me"]),
    ("description: a ${b", ["1:14: error: '${' without a variable's name and '}' in 'a ${b' ('$$' is a '$')"]),
    ("backend: ${NO:-tri}", ["1:10: error: backend: 'tri' is not one of asyncio, trio"]),
    # YAML
    ("a: b: c", ["1:5: error: not valid YAML: mapping values are not allowed in this context"]),
    ("quiet: true\n\tbackend: trio", ["2:1: error: a tab can't be used here: indent with spaces"]),
    (
        "description: [a, b",
        ["1:14: error: not valid YAML: did not find expected ',' or ']' (while parsing a flow sequence)"],
    ),
    (
        "description: !!python/object/apply:os.system ['x']",
        [
            "1:14: error: tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed: a profile is plain data",
            "1:14: error: description: expected text, got a list",
        ],
    ),
    ("description: !mine x", ["1:14: error: tag '!mine' is not allowed: a profile is plain data"]),
    ("description: *a", ["1:14: error: alias '*a' stands before or inside what it names"]),
    ("startup: &a [*a]", ["1:14: error: alias '*a' stands before or inside what it names"]),
    ("- quiet", ["1:1: error: a profile is a mapping of keys to values"]),
    ("quiet", ["1:1: error: a profile is a mapping of keys to values"]),
    ("quiet: true\n---\nquiet: false", ["2:1: error: a second document: a profile is one"]),
    ("quiet: true\ndescription: a\0b", ["2:15: error: character '\\x00' is not allowed in YAML"]),
    ("description: " + "[" * 60 + "]" * 60, ["1:54: error: nested more than 40 levels deep"]),
    # what only a comparison with the JSON Schema showed
    ("extends+: [fast]", ["1:1: error: extends+: it is not inherited: write 'extends'"]),
    (
        'env: {PATH: {append: ["/a", "b\\0c"]}}',
        ["1:29: error: env.PATH.append[1]: expected text without NUL, got 'b\\x00c'"],
    ),
    (
        "cell_timeout: 1" + "0" * 320,
        ["1:15: error: cell_timeout: expected a number of seconds, 0 or more, got 1" + "0" * 320],
    ),
    # several faults in one file, of every layer of the check
    (
        "backend: tri\nhistori: off\nquiet: 1\nenv:\n  1X: a\n  A: {st: b}\n",
        [
            "1:10: error: backend: 'tri' is not one of asyncio, trio",
            "2:1: error: unknown key 'histori' (did you mean 'history'?)",
            "3:8: error: quiet: expected true or false, got 1",
            "5:3: error: env: '1X' is not the name of a variable",
            "6:7: error: env.A: 'st' is not one of set, prepend, append",
        ],
    ),
    (
        "extends: [nope.yaml, 'a b']\nextensions: [a b, c d]\nstartup:\n  - {code: x}\n  - 3\n",
        [
            "1:11: error: extends: there is no file '{folder}/nope.yaml'",
            "1:22: error: extends: 'a b' is not a name: ASCII letters, digits, '-', '_' and '.' are, not beginning with '-' or '.'",
            "2:14: error: extensions[0]: expected the name of an IPython extension, got 'a b'",
            "2:19: error: extensions[1]: expected the name of an IPython extension, got 'c d'",
            "4:5: error: startup[0]: expected code (text) or {file: path}, got a mapping",
            "5:5: error: startup[1]: expected code (text) or {file: path}, got 3",
        ],
    ),
    (
        "run_modes:\n  execut_request: task\n  control:\n    debug_request: direct\n    shutdown_request: no\n  comm_msg: 3\n",
        [
            "2:3: error: run_modes: unknown message type 'execut_request' (did you mean 'execute_request'?)",
            "4:20: error: run_modes.control.debug_request: 'direct' is not allowed for it: use one of queue, task, thread",
            "5:23: error: run_modes.control.shutdown_request: 'no' is not one of queue, task, thread, direct",
            "6:13: error: run_modes.comm_msg: expected one of queue, task, thread, direct, got 3",
        ],
    ),
    (
        "description: a ${NO:?tell me}\nlog_level: warn\nlog_level: info\nipython_profile: ${\n",
        [
            "1:14: error: ${NO} is not set: tell me",
            "2:12: error: log_level: 'warn' is not one of debug, info, warning, error, critical (did you mean 'warning'?)",
            "3:1: error: duplicate key 'log_level' (first in line 2)",
            "4:18: error: '${' without a variable's name and '}' in '${' ('$$' is a '$')",
        ],
    ),
    (
        "kernel_factory: a b\npython: []\nlogo: {}\nprovisioner: 3\noutput_limit: -1\nip: ''\nsettings: {a b: 1, quiet: x}\n",
        [
            "1:17: error: kernel_factory: expected module:name or file.py:name, got 'a b'",
            "2:9: error: python: expected a path, got a list",
            "3:7: error: logo: expected a path, got a mapping",
            "4:14: error: provisioner: expected a mapping with a name, got 3",
            "5:15: error: output_limit: expected a size: bytes, or a number with kB, MB, GB, KiB, MiB or GiB, got -1",
            "6:5: error: ip: expected an IP address, a host name or *, got ''",
            "7:12: error: settings: 'a b' is not a dotted attribute of the kernel",
            "7:20: error: settings: 'quiet' is set by the key 'quiet'",
        ],
    ),
]


@pytest.mark.parametrize(("text", "lines"), FAULTY, ids=[text[:40] for text, _ in FAULTY])
def test_a_fault_is_told_with_its_place(load: LoadText, folder: Path, text: str, lines: list[str]) -> None:
    """Without it one searches a file for what a program already knew."""
    with pytest.raises(ProfileError) as caught:
        load(text)
    at = str(folder)
    assert sorted(str(caught.value).splitlines()) == sorted(
        f"{at}/p.yaml:{line}".replace("{folder}", at) for line in lines
    )


def test_all_faults_at_once_in_their_order(load: LoadText, write: Callable[[str, str], str], folder: Path) -> None:
    """Without it one repairs, runs and repairs again, once for each fault."""
    write("parent", "quiet: maybe\nhistry: off\n")
    with pytest.raises(ProfileError) as caught:
        load("extends: parent\ncell_timeout: x\nbackend: tri\n", "stdin=perhaps")
    assert [str(problem.mark) for problem in caught.value.problems] == [
        f"{folder}/p.yaml:2:15",
        f"{folder}/p.yaml:3:10",
        f"{folder}/parent.yaml:1:8",
        f"{folder}/parent.yaml:2:1",
        "--set stdin=perhaps",
    ]


def test_bytes_that_are_no_text(folder: Path, environ: dict[str, str]) -> None:
    """An editor's wrong encoding is pointed at, not a traceback of the decoder."""
    path = folder / "p.yaml"
    path.write_bytes("quiet: true\ndescription: ä ".encode() + b"\xe4\n")
    with pytest.raises(ProfileError) as caught:
        load_profile(str(path), environ=environ)
    assert str(caught.value) == f"{path}:2:16: error: byte 0xe4 is not UTF-8"


def test_a_file_that_is_no_profile_by_its_size(folder: Path, environ: dict[str, str]) -> None:
    """A log file given by mistake must not keep the start busy for minutes."""
    path = folder / "p.yaml"
    path.write_text("#" * (1 << 20) + "\n")
    with pytest.raises(ProfileError) as caught:
        load_profile(str(path), environ=environ)
    assert str(caught.value) == f"{path}:1:1: error: the file is larger than 1 MiB: this is no profile"


def test_an_alias_bomb_is_defused(load: LoadText) -> None:
    """Ten lines that expand to a billion values would eat the memory of whoever reads them."""
    rows = ["settings:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ProfileError, match="aliases expand to more than 50000 values"):
        load("\n".join(rows))


def test_an_alias_is_as_good_as_what_it_names(load: LoadText) -> None:
    assert load("settings: {a: &x [1, 2], b: *x}").values["settings"] == {"a": [1, 2], "b": [1, 2]}


def test_a_cycle_of_profiles_shows_the_chain(load: LoadText, write: Callable[[str, str], str], folder: Path) -> None:
    """A cycle over three files is found by nobody who is told only that there is one."""
    write("a", "extends: b")
    write("b", "extends: p")
    with pytest.raises(ProfileError) as caught:
        load("extends: a")
    assert str(caught.value) == f"{folder}/b.yaml:1:10: error: extends: a cycle: p → a → b → p"


def test_a_parent_that_is_missing_names_the_places(load: LoadText, folder: Path) -> None:
    """Where a name is looked up is the first question of whoever reads that it was not found."""
    with pytest.raises(ProfileError) as caught:
        load("quiet: true\nextends: defalt")
    first, last = str(caught.value).split("(looked in ")
    assert first == f"{folder}/p.yaml:2:10: error: extends: no profile 'defalt' "
    assert last.startswith(f"{folder}, ")
    assert last.endswith("; did you mean 'default'?)")


@pytest.mark.parametrize("name", ["..", "a,", "", ".hidden", "-f", "a b", "ä", "x" * 101])
def test_a_name_that_is_none(environ: dict[str, str], name: str) -> None:
    """A name becomes part of a path: what is no name must not become one."""
    with pytest.raises(ProfileError, match="is not a name"):
        load_profile(name, environ=environ)


def test_a_file_that_cannot_be_read(folder: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile(str(folder / "none.yaml"), environ=environ)
    assert str(caught.value) == f"--profile: error: there is no file '{folder}/none.yaml'"


def test_a_file_whose_stem_is_no_name(folder: Path, environ: dict[str, str]) -> None:
    """The stem becomes the name of a kernelspec."""
    path = folder / "my profile.yaml"
    path.write_text("quiet: true")
    with pytest.raises(ProfileError, match=r"my profile\.yaml: error: 'my profile' is not a name"):
        load_profile(str(path), environ=environ)


def test_a_local_file_only_changes_values(load: LoadText, folder: Path) -> None:
    (folder / "p.local.yaml").write_text("extends: default")
    with pytest.raises(ProfileError, match=r"p\.local\.yaml:1:1: error: extends: not in a '\.local\.yaml' file"):
        load("quiet: true")
