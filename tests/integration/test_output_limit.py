"""`output_limit:` in a running kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernels import RunningKernel, spawn, text_of, wait_for_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def limited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    path = tmp_path_factory.mktemp("kernel") / "k.json"
    process = spawn(path, "--output-limit", "10kB", "--backend", request.param)
    wait_for_file(path, process)
    running = RunningKernel(process, path)
    yield running
    running.stop()


def notices(published: list[dict[str, Any]]) -> list[str]:
    """The texts of the notice, in the order in which they replace one another."""
    found = [m for m in published if "output_limit" in str(m["content"].get("transient"))]
    assert [m["msg_type"] for m in found] == ["display_data", *["update_display_data"] * (len(found) - 1)]
    return [m["content"]["data"]["text/plain"] for m in found]


def test_a_flood_ends_in_a_notice_and_the_rest_is_there(limited: RunningKernel) -> None:
    """A loop that prints for ever fills neither a notebook nor a model's context; the error is still seen."""
    code = "import sys\nfor i in range(20_000): print('x' * 9)\nsys.stderr.write('y')\n1/0"
    reply, published = limited.run(code)
    assert text_of(published) == "xxxxxxxxx\n" * 1000
    said = notices(published)
    assert said[-1] == "[async_kernel: output cut: 190,001 bytes are missing here; output_limit is 10,000 bytes]"
    assert len(said) < 10
    assert [m["content"]["ename"] for m in published if m["msg_type"] == "error"] == ["ZeroDivisionError"]
    assert reply["content"]["ename"] == "ZeroDivisionError"
    # The next cell begins anew.
    assert text_of(limited.run("print('next')")[1]) == "next\n"


def test_tasks_and_threads_count_for_their_cell(limited: RunningKernel) -> None:
    """Who prints from four threads does not get four times as much."""
    code = (
        "import threading, anyio\n"
        "def flood(): print('z' * 4000)\n"
        "threads = [threading.Thread(target=flood) for _ in range(3)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
        "async def more(): print('z' * 4000)\n"
        "async with anyio.create_task_group() as group: group.start_soon(more)\n"
        "await anyio.to_thread.run_sync(flood)"
    )
    published = limited.run(code)[1]
    assert len(text_of(published)) == 10_000
    assert notices(published)[-1].startswith("[async_kernel: output cut: 10,005 bytes")


def test_a_large_result_keeps_its_beginning(limited: RunningKernel) -> None:
    published = limited.run("'é' * 20_000")[1]
    (result,) = [m for m in published if m["msg_type"] == "execute_result"]
    assert result["content"]["data"] == {"text/plain": "'" + "é" * 4999}
    assert notices(published) == [
        "[async_kernel: output cut: 30,003 bytes are missing here; output_limit is 10,000 bytes]"
    ]
