"""The quick reader reads what it reads exactly as PyYAML does."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from async_kernel.config import discovery, yaml_tree
from async_kernel.config.plain_yaml import parse_plain
from tests.config.trees import flat

BITS = (
    *(
        "a",
        "b-c",
        "x.y",
        "true",
        "null",
        "~",
        "12",
        "1.5",
        "0x1F",
        "1e3",
        "off",
        "-",
        "- ",
        ":",
        ": ",
        "#",
        " # c",
        "'",
        '"',
    ),
    *(
        " ",
        "  ",
        "    ",
        "\n",
        "\n",
        "\n  ",
        "\n- ",
        "\n    ",
        "a: ",
        "b: ",
        "k:\n  ",
        "'q s'",
        '"d q"',
        "[",
        "{x: y}",
        "&a",
        "*a",
    ),
    *(
        "!t",
        "|",
        ">",
        "%",
        "@",
        "`",
        "---",
        "...",
        "?",
        ",",
        "\\",
        "+",
        "/",
        "(",
        ")",
        "=",
        "\t",
        "x y",
        "1_0",
        "010",
        "+1",
        ".5",
    ),
)


def odd(source: random.Random) -> str:
    return "".join(source.choice(BITS) for _ in range(source.randint(1, 14)))


def almost_plain(source: random.Random) -> str:
    """A few lines of the plain forms, of which one in eight is spoilt somewhere."""
    lines = ""
    for _ in range(source.randint(1, 6)):
        start = source.choice(("a: ", "b: ", "c: ", "k:", "- ", "x.y+: "))
        lines += (
            "  " * source.randint(0, 2) + start + source.choice(("", "1", "two words", "'q'", '"d"', "off # c")) + "\n"
        )
    if source.random() < 1 / 8:
        index = source.randrange(len(lines))
        lines = lines[:index] + source.choice(BITS) + lines[index:]
    return lines


def flow(source: random.Random, depth: int = 3) -> str:
    """Brackets in brackets, a few of them spoilt."""
    kind = source.random()
    if depth and kind < 0.3:
        return (
            "["
            + source.choice((", ", ",", " , ")).join(flow(source, depth - 1) for _ in range(source.randint(0, 3)))
            + "]"
        )
    if depth and kind < 0.6:
        entries = (f"{source.choice('abcde')}: {flow(source, depth - 1)}" for _ in range(source.randint(0, 3)))
        return source.choice(("{", "{ ")) + ", ".join(entries) + "}"
    words = (
        "1",
        "two words",
        "'q, ]'",
        '"d: {}"',
        "off",
        "x-y",
        "it's",
        "1.5",
        "-",
        "a:b",
        "",
        "a b ",
        "...",
        "~",
        "'a''b'",
    )
    return source.choice(words if source.random() < 0.3 else words[:8])


def with_flow(source: random.Random) -> str:
    tail = source.choice(("", " # c", "# c", " ", " ]", " x", ",", "   # ]"))
    text = f"k: {flow(source)}{tail}\nl:\n  - {flow(source)}\n"
    if source.random() < 1 / 8:
        index = source.randrange(len(text))
        text = text[:index] + source.choice(BITS) + text[index:]
    return text


@pytest.mark.parametrize("seed", range(20))
def test_what_is_read_quickly_is_read_right(seed: int) -> None:
    """Otherwise a profile would mean one thing today and another when a line is added."""
    source = random.Random(seed)
    read = 0
    for number in range(400):
        text = (odd, almost_plain, with_flow, with_flow)[number % 4](source)
        quick = parse_plain(text, "f")
        if quick is not None:
            read += 1
            problems: list[Any] = []
            assert flat(quick) == flat(yaml_tree.parse(text, "f", problems)), text
            assert not problems, text
    assert read  # the comparison compared something


@pytest.mark.parametrize(
    "text",
    [
        "a: b\nc:\n  d: 1\n  e: 'x # y'   # z\nf:\n  - 1\n  - two words\n",
        "# c\n\na: x-y/z.w (p, q) = 50%\nb: \"\"\nc: ''\nx.y+: 1\n",
        "a:\n    b:\n      c: 1\n    d: 2\n",
        "a: off\nb: yes\nc: 010\nd: 1e3\ne: .5\nf: 0o17\ng: 1.2.3\n",
        "a: b",
        "a: b \n\n\n",
        "a: []\nb: {}\nc: [1, two words, 'x, y', \"${A:-b}\"]   # ]\nd: {e: 1, f: {g: [h]}, i: 'j: k'}\n",
        'startup:\n  - {file: setup.py}\n  - import x\nPATH: {prepend: ["${HOME}/bin"]}\n',
    ],
)
def test_the_forms_that_are_read_quickly(text: str) -> None:
    """They are what saves the time."""
    quick = parse_plain(text, "f")
    assert quick is not None
    assert flat(quick) == flat(yaml_tree.parse(text, "f", []))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a: b: c",
        "a:",
        "a: ~\na: 1",
        "a: b\n  c",
        "a: 'b",
        "a: [x, ]",
        "a: [x",
        "a: {x}",
        "a: {x: }",
        "a: {x: 1, x: 2}",
        "a: {'x': 1}",
        "a: [x: y]",
        "a: [x]# c",
        "a: [~]",
        "a: [x,\n  y]",
        "a: ä",
        "a:\tb",
        "a: |\n  x",
        "a:\n- x",
        "- a: b",
        "a: 'x''y'",
        " a: b",
        "a: b\r\nc: d",
        "a: b\n c: d",
        "null: x",
        "a: x:",
    ],
)
def test_what_is_left_to_pyyaml(text: str) -> None:
    assert parse_plain(text, "f") is None


def test_the_profiles_that_come_with_the_kernel_start_without_pyyaml(tmp_path: Path) -> None:
    """12 ms of every start of a kernel."""
    folder = Path(discovery.builtin_folder())
    names = [path.stem for path in folder.glob("*.yaml")]
    code = (
        "import sys; from async_kernel.config.profile import load_profile\n"
        f"for name in {names!r}: load_profile(name)\n"
        "heavy = {'yaml', 'msgspec', 'asyncio', 'anyio', 'traitlets', 'IPython', 'zmq', 'dataclasses', 'inspect'}\n"
        "found = heavy & {*sys.modules}\n"
        "assert not found, found"
    )
    environ = {"JUPYTER_CONFIG_DIR": str(tmp_path), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ, timeout=30)
