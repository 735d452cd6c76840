"""The tags of a cell as one policy."""

from __future__ import annotations

from typing import Any

import pytest

from async_kernel.protocol.cell_policy import NO_POLICY, CellPolicy
from async_kernel.typing import RunMode


@pytest.mark.parametrize("metadata", [{}, {"tags": []}, {"tags": None}, {"tags": ["hide-input", "parameters"]}])
def test_cells_without_our_tags_have_no_policy(metadata: dict[str, Any]) -> None:
    """The tags of other tools would change how a cell runs."""
    assert CellPolicy.parse(metadata) == NO_POLICY == CellPolicy()


def test_every_tag_is_read() -> None:
    """A tag would do nothing."""
    policy = CellPolicy.parse(
        {"tags": ["thread", "timeout=0.5", "raises-exception", "suppress-error=never mind = ok", "stop-on-error=false"]}
    )
    assert policy == CellPolicy(
        run_mode=RunMode.thread,
        timeout=0.5,
        raises_exception=True,
        suppress_error="never mind = ok",
        stop_on_error=False,
    )


@pytest.mark.parametrize("tag", ["raises-exception", "raises_exception", "raises-exception=true"])
def test_dash_and_underscore_are_the_same(tag: str) -> None:
    """nbclient's and the specification's spellings differ from Python's."""
    assert CellPolicy.parse({"tags": [tag]}).raises_exception is True


def test_tags_without_a_value() -> None:
    """`suppress-error` alone must suppress, `stop-on-error` alone must stop."""
    policy = CellPolicy.parse({"tags": ["suppress-error", "stop_on_error"]})
    assert policy.suppress_error == ""
    assert policy.stop_on_error is True
    assert policy.timeout is None


def test_first_of_two_counts_and_zero_is_a_timeout() -> None:
    """`timeout=0` switches a default timeout off."""
    assert CellPolicy.parse({"tags": ["timeout=0", "timeout=5", "# task", "queue"]}) == CellPolicy(
        timeout=0.0, run_mode=RunMode.task
    )


@pytest.mark.parametrize("tag", ["timeout=soon", "timeout", "timeout=-1", "timeout=nan", "timeout=inf"])
def test_wrong_timeout_is_a_problem(tag: str) -> None:
    """A misspelt timeout would silently be none."""
    policy = CellPolicy.parse({"tags": [tag, "raises-exception"]})
    assert policy.timeout is None
    assert policy.raises_exception is True
    [problem] = policy.problems
    assert f"tag {tag!r}: expected a number" in problem


def test_every_problem_is_told() -> None:
    """A user would mend one tag after the other."""
    policy = CellPolicy.parse({"tags": ["stop-on-error=maybe", 3, "raises-exception=x"]})
    assert len(policy.problems) == 3
    assert policy.stop_on_error is None
    assert CellPolicy.parse({"tags": "timeout=1"}).problems == ("tags: expected a list of strings, got 'timeout=1'",)


def test_a_policy_is_frozen() -> None:
    """A cell could change the policy of another one."""
    with pytest.raises(AttributeError):
        NO_POLICY.timeout = 1.0  # pyright: ignore[reportAttributeAccessIssue]
