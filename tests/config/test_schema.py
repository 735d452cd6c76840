"""The one table."""

from __future__ import annotations

import pytest

from async_kernel.config.problems import Mark
from async_kernel.config.schema import SCHEMA, Setting
from async_kernel.config.tree import Node, resolve_plain

KEYS = (
    "extends description display_name backend backend_options transport encryption ip allow_unsigned allow_network "
    "quiet print_kernel_messages run_modes comms gui thread_output capture_fds history stdin cell_timeout "
    "output_limit subshell_namespace completer log_level settings kernel_factory startup extensions env python logo "
    "provisioner ipython_profile"
)


def test_every_key_is_in_the_table() -> None:
    """A key that the documentation has and the table has not is refused in a user's file."""
    assert set(SCHEMA) == set(KEYS.split())


@pytest.mark.parametrize("setting", SCHEMA.values(), ids=lambda setting: setting.key)
def test_a_default_is_a_value_of_its_kind(setting: Setting) -> None:
    """Validation and behaviour would disagree about what nobody wrote."""
    if setting.default in ("", [], {}):
        return
    problems = []
    text = str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
    node = setting.kind.check(Node(setting.default, Mark("default"), None, text), setting.key, problems)
    assert not problems
    assert node.value == setting.default
    assert type(node.value) is type(setting.default)


def test_every_setting_says_what_it_is_for() -> None:
    for setting in SCHEMA.values():
        assert setting.doc.endswith("."), setting.key
        assert len(setting.doc) < 110, setting.key


def test_no_two_settings_set_one_attribute() -> None:
    """One of them would be ignored in silence."""
    traits = [setting.trait for setting in SCHEMA.values() if setting.trait]
    assert len(traits) == len(set(traits))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            ("", None),
            ("~", None),
            ("null", None),
            ("true", True),
            ("FALSE", False),
            ("off", "off"),
            ("no", "no"),
            ("1", 1),
        ),
        *(
            ("-3", -3),
            ("+3", 3),
            ("010", 10),
            ("0x1f", 31),
            ("0o17", 15),
            ("0o9", "0o9"),
            ("1.5", 1.5),
            (".5", 0.5),
            ("1e3", 1000.0),
        ),
        *(
            ("1_000", "1_000"),
            ("1.2.3", "1.2.3"),
            ("-", "-"),
            (".inf", float("inf")),
            ("-.INF", -float("inf")),
            ("inf", "inf"),
        ),
        *(
            ("1:30", "1:30"),
            ("2024-01-01", "2024-01-01"),
            ("-a", "-a"),
            ("9" * 5000, "9" * 5000),
            ("nan", "nan"),
            ("0x", "0x"),
        ),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    """In YAML 1.1 `history: off` would be false, a version a date and a time a number."""
    assert resolve_plain(text) == value
    assert type(resolve_plain(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "size"), [("10MB", 10_000_000), ("1.5 kB", 1500), ("2KiB", 2048), ("1gib", 1 << 30), ("7", 7), ("3B", 3)]
)
def test_sizes(text: str, size: int) -> None:
    problems = []
    node = SCHEMA["output_limit"].kind.check(Node(text, Mark("f", 1, 1)), "output_limit", problems)
    assert (node.value, problems) == (size, [])
