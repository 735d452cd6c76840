"""Whatever a profile holds, it is read, or every problem is told with its place: hypothesis looks for what is neither.

A few examples are tried, always the same; `make fuzz` tries more, and others each time (ASYNC_KERNEL_FUZZ).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from async_kernel.config.plain_yaml import parse_plain
from async_kernel.config.problems import ProfileError
from async_kernel.config.profile import load_profile
from async_kernel.config.schema import SCHEMA
from async_kernel.config.yaml_tree import parse
from tests.config.trees import flat

WORDS = st.sampled_from(
    ["a", "true", "off", "~", "12", "1e3", "0x1F", "task", "x.y", "${HOME}", "${A:-b}", "kB", "../p"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=3)
)
PROFILES = st.fixed_dictionaries({}, optional=dict.fromkeys(SCHEMA, VALUES)).map(
    lambda data: yaml.safe_dump(data, allow_unicode=True)
)
LINES = st.lists(
    st.sampled_from([*SCHEMA, "x"]).flatmap(lambda key: st.just(f"{key}: ") | st.just(f"  {key}:\n")) | WORDS
)
TEXTS = st.text(st.sampled_from("ab: -#\n\t'\"[]{},&*!|>%@`?\\é\0\ud800"), max_size=40) | LINES.map("".join)


def loaded(text: str) -> None:
    """Load a profile of that text; a problem has a place in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "p.yaml")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        said = ""
        try:
            profile = load_profile(str(path))
        except ProfileError as error:
            profile, said = None, str(error)
        assert profile is not None or str(path) in said


@given(PROFILES)
def test_wrong_types_in_every_key_are_problems_with_a_place(text: str) -> None:
    """A traceback in the place of a sentence."""
    loaded(text)


@given(TEXTS)
def test_text_that_is_no_profile_is_a_problem_with_a_place(text: str) -> None:
    loaded(text)


@given(TEXTS)
def test_what_is_read_quickly_is_what_pyyaml_reads(text: str) -> None:
    """A profile would mean one thing today and another when a line is added."""
    quick = parse_plain(text, "f")
    if quick is not None:
        problems: list[Any] = []
        assert flat(quick) == flat(parse(text, "f", problems))
        assert not problems
