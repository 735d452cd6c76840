"""The JSON Schema and the loader agree, judged by an independent validator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from async_kernel.config.interpolation import interpolate
from async_kernel.config.json_schema import json_schema
from async_kernel.config.layers import read_file
from async_kernel.config.problems import ProfileError
from async_kernel.config.profile import Profile, load_profile
from async_kernel.config.schema import BACKEND_OPTIONS, SCHEMA
from async_kernel.config.tree import data
from tests.config.every_key import EVERY_KEY

LoadText = Callable[..., Profile]
VALIDATOR = jsonschema.Draft7Validator(json_schema())

SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, -0.5, 1e6, 10**20, "", " ", "a", "a b", "x.y", "1", "true", "off", "é"),
    *("${A}", "$$", "$${", "$$${A}", "${", "a ${b", "${A:-x}", "${1}", "$", "a\n", "a\0b", "{profile}", "{envv}", "{}"),
    *("asyncio", "trio", "tri", "task", "direct", "thread", "127.0.0.1", "::1", "*", "1 2", "127.0.0.1\n", "../x"),
    *("10MB", "1.5 kB", "7 ", "10 apples", "1KiB", "9" * 21, "m:f", "m.n:f.g", "f.py:g", "dir/f.py:g", ":f", "m:"),
    *("default", "no-such", "bad name", "$HOME", "autoreload", "a-b", "1a", "shell", "subshell", "creator", "log"),
    *("deny", "memory", "jedi", "debug", "tcp", "ipc", "auto", "isolated", "bin/python", "logo.svg"),
)
NAMES = (
    *("execute_request", "comm_msg", "debug_request", "shutdown_request", "execut_request", "shell", "control"),
    *("set", "prepend", "append", "st", "PATH", "1X", "A_B", "file", "code", "name", "config", "use_uvloop", "debug"),
    *("strict_exception_groups", "shell.stop_on_error_time_offset", "quiet", "shell.timeout", "a b", "a..b", "class"),
)
NOT_SAID_BY_A_SCHEMA = ("${A}", "$$${A}", "${A:-x}")
"""References, which are text to the schema, whatever the variable's value makes of them."""


def anything(source: random.Random, depth: int = 3) -> Any:
    kind = source.random()
    if depth and kind < 0.2:
        return [anything(source, depth - 1) for _ in range(source.randint(0, 3))]
    if depth and kind < 0.6:
        return {source.choice(NAMES): anything(source, depth - 1) for _ in range(source.randint(0, 3))}
    return source.choice(SCALARS)


def nearly_right(source: random.Random, key: str, value: Any) -> Any:
    """The good value, with something in it that may be wrong."""
    if isinstance(value, dict) and value and source.random() < 0.9:
        name = source.choice(sorted(value))
        changed = dict(value)
        if source.random() < 0.3:
            changed[source.choice(NAMES)] = changed.pop(name)
        else:
            changed[name] = nearly_right(source, key, changed[name])
        return changed
    if isinstance(value, list) and value and source.random() < 0.7:
        index = source.randrange(len(value))
        return [*value[:index], nearly_right(source, key, value[index]), *value[index + 1 :]]
    return anything(source, 2)


def holds_reference(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(holds_reference, value.values()))
    if isinstance(value, list):
        return any(map(holds_reference, value))
    return value in NOT_SAID_BY_A_SCHEMA


def is_for_other_layers(profile: dict[str, Any]) -> bool:
    """Whether the verdict depends on more than this file: parents that must exist, a backend said elsewhere."""
    parents = profile.get("extends")
    names = parents if isinstance(parents, list) else [parents]
    unknown = any(isinstance(name, str) and name not in ("default", "") for name in names)
    options = profile.get("backend_options")
    return unknown or (isinstance(options, dict) and bool(options) and "backend" not in profile)


def loads(folder: Path, environ: dict[str, str], profile: Any) -> bool:
    path = folder / "p.yaml"
    path.write_text(json.dumps(profile), "utf-8")
    try:
        load_profile(str(path), environ=environ)
    except ProfileError:
        return False
    return True


def test_the_schema_is_one() -> None:
    """An editor that finds a fault in the schema shows nothing at all."""
    jsonschema.Draft7Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema())) == json_schema()


def test_every_key_is_described() -> None:
    """What an editor completes and shows is the table, whole."""
    properties = json_schema()["properties"]
    assert {name for name in properties if not name.endswith("+")} == set(SCHEMA)
    assert {name for name in properties if name.endswith("+")} == {"extensions+", "startup+"}
    assert all(each["description"] for each in properties.values())
    assert properties["cell_timeout"]["default"] == 0.0
    assert all(VALIDATOR.is_valid({key: properties[key]["default"]}) for key in SCHEMA)


def test_a_profile_of_every_key_validates(folder: Path, environ: dict[str, str]) -> None:
    assert set(EVERY_KEY) == set(SCHEMA)
    assert not list(VALIDATOR.iter_errors(EVERY_KEY))
    assert loads(folder, environ, EVERY_KEY)


@pytest.mark.parametrize("key", SCHEMA)
def test_every_key_can_be_reset(key: str, folder: Path, environ: dict[str, str]) -> None:
    assert VALIDATOR.is_valid({key: None})
    assert loads(folder, environ, {key: None})


@pytest.mark.parametrize(
    "profile", [None, {}, [], "quiet", 3, {"bakend": "trio"}, {"backend+": "trio"}, {"extends+": []}]
)
def test_a_file_as_a_whole(profile: Any, folder: Path, environ: dict[str, str]) -> None:
    assert VALIDATOR.is_valid(profile) == loads(folder, environ, profile)


@pytest.mark.parametrize("key", [*SCHEMA, "extensions+", "startup+"])
def test_the_schema_and_the_loader_agree(key: str, folder: Path, environ: dict[str, str]) -> None:
    """Otherwise an editor underlines what runs, or says nothing of what does not."""
    source = random.Random(key)
    verdicts: set[bool] = set()
    good: Any = EVERY_KEY[key.removesuffix("+")]
    for number in range(80):
        profile = {key: (nearly_right(source, key, good) if number % 4 else anything(source)) if number else good}
        if key == "backend_options" and number % 3:
            profile["backend"] = source.choice(tuple(BACKEND_OPTIONS))
        if is_for_other_layers(profile) or holds_reference(profile):
            continue
        valid = VALIDATOR.is_valid(profile)
        assert loads(folder, environ, profile) == valid, profile
        verdicts.add(valid)
    assert False in verdicts
    assert True in verdicts  # the comparison compared something


@pytest.mark.parametrize("key", SCHEMA)
def test_a_reference_is_text_to_the_schema(key: str, folder: Path, environ: dict[str, str]) -> None:
    """A variable's value is not known to an editor: `cell_timeout: ${T:-30}` must not be underlined."""
    good = EVERY_KEY[key]
    if isinstance(good, dict | list):
        pytest.skip("what stands in a list or a mapping is one of the other keys' kinds")
    text = f"{key}: ${{V}}"
    (folder / "v.yaml").write_text(text)
    table = read_file(str(folder / "v.yaml"), [])
    assert VALIDATOR.is_valid({key: data(table[key])})
    said = str(good).lower() if isinstance(good, bool) else str(good)
    assert data(interpolate(table[key], {**environ, "V": said}, [])) == good
    profile = load_profile(str(folder / "v.yaml"), environ={**environ, "V": said})
    assert str(profile.origin(key).mark) == f"{folder}/v.yaml:1:{len(key) + 3}"


@pytest.mark.parametrize("word", ["yes", "no", "on", "off"])
def test_what_a_schema_cannot_see(word: str, load: LoadText) -> None:
    """The one thing that runs though an editor underlines it: a schema can't see that there are no quotes."""
    assert load(f"quiet: {word}").values["quiet"] is (word in ("yes", "on"))
    assert not VALIDATOR.is_valid({"quiet": word})
