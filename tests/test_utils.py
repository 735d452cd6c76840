"""What code in a cell can ask about itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from async_kernel import utils
from async_kernel.scheduling.context import current_job
from async_kernel.typing import Tags


@pytest.fixture
def job() -> Iterator[Any]:
    """A cell with tags, for a subshell."""
    header = {"msg_id": "1", "subshell_id": "s"}
    msg = {"header": header, "metadata": {"tags": ["timeout=2.5", "suppress_error", 3]}}
    current: Any = {"msg": msg}
    token = current_job.set(current)
    yield current
    current_job.reset(token)


def test_inside_a_request(job: Any) -> None:
    assert utils.get_job() is job
    assert utils.get_parent() is job["msg"]
    assert utils.get_tags() == ["timeout=2.5", "suppress_error"]
    assert utils.get_tag_value(Tags.timeout) == "2.5"
    assert utils.get_tag_value(Tags.suppress_error) == ""
    assert utils.get_tag_value(Tags.stop_on_error) is None
    assert utils.get_timeout() == 2.5
    assert utils.get_subshell_id() == "s"


def test_outside_of_every_request() -> None:
    assert utils.get_job() is None
    assert utils.get_parent() is None
    assert utils.get_metadata() == {}
    assert utils.get_tags() == []
    assert utils.get_timeout() is None
    assert utils.get_subshell_id() is None


def test_no_kernel() -> None:
    with pytest.raises(RuntimeError, match="no kernel"):
        utils.get_kernel()


def test_setattr_nested() -> None:
    thing = SimpleNamespace(inner=SimpleNamespace(value=1))
    utils.setattr_nested(thing, "inner.value", 2)
    assert thing.inner.value == 2
    with pytest.raises(AttributeError, match="valu"):
        utils.setattr_nested(thing, "inner.valu", 3)


def test_error_to_content() -> None:
    content = utils.error_to_content(ValueError("no"))
    assert (content["status"], content["ename"], content["evalue"]) == ("error", "ValueError", "no")


def test_hide_a_thread_from_the_debugger() -> None:
    thread: Any = threading.Thread()
    utils.mark_thread_pydev_do_not_trace(thread)
    assert thread.pydev_do_not_trace
    utils.mark_thread_pydev_do_not_trace(thread, remove=True)
    assert not thread.pydev_do_not_trace
