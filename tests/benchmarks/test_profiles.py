"""The benchmark of large profiles measures what it says it does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from async_kernel.config.layers import read_file
from async_kernel.config.profile import load_profile
from benchmarks import profiles


@pytest.mark.parametrize("flow", [False, True])
def test_the_profile_has_200_keys_in_five_levels(tmp_path: Path, flow: bool) -> None:
    path = profiles.write(tmp_path, flow=flow)
    profile = load_profile(str(path))
    assert [Path(source).stem for source in profile.sources] == [*(f"level{n}" for n in range(4, -1, -1)), "default"]
    keys = 0
    for source in profile.sources[:-1]:
        table = read_file(source, [])
        keys += sum(len(node.value) if isinstance(node.value, dict) and node.value else 1 for node in table.values())
    assert keys == profiles.KEYS
    assert profile.values["env"]["LEVEL"] == {"set": "level 4"}


def test_a_large_profile_is_read_without_pyyaml(tmp_path: Path) -> None:
    """25 ms of a kernel's start, for brackets on one line."""
    before = sys.modules.pop("async_kernel.config.yaml_tree", None)
    try:
        load_profile(str(profiles.write(tmp_path, flow=True)))
        assert "async_kernel.config.yaml_tree" not in sys.modules
    finally:
        if before is not None:
            sys.modules["async_kernel.config.yaml_tree"] = before
