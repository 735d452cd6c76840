"""`event_loops`: a kernel starts on the loop that its profile names, and keeps its signal handlers."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from async_kernel.errors import SetupError
from async_kernel.scheduling import event_loops
from async_kernel.scheduling.context import current_job
from async_kernel.typing import Backend


def split(anyio_backend: Any) -> tuple[str, dict[str, Any]]:
    return (anyio_backend, {}) if isinstance(anyio_backend, str) else anyio_backend


def test_run_returns_the_value_and_passes_the_arguments(anyio_backend: Any):
    backend, options = split(anyio_backend)

    async def main(a: int, b: int) -> tuple[int, Backend | None]:
        await anyio.lowlevel.checkpoint()
        return a + b, event_loops.running_backend()

    assert event_loops.run(main, 1, 2, backend=backend, backend_options=options) == (3, Backend(backend))
    assert event_loops.running_backend() is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere libraries are found without a process")
def test_trio_is_loaded_without_a_process():
    """Each start on trio would wait for `ldconfig`."""
    code = """
import sys
sys.addaudithook(lambda event, _: print(event) if event in ("subprocess.Popen", "os.fork", "os.posix_spawn") else None)
from async_kernel.scheduling.event_loops import driver
import ctypes.util
before = ctypes.util.find_library
driver("trio")
assert ctypes.util.find_library is before
from trio._core import _thread_cache
print(_thread_cache.set_os_thread_name is not None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"


def test_uvloop_is_used_where_it_is_asked_for_and_only_there():
    async def name() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert event_loops.run(name, backend_options={"use_uvloop": True}) == "uvloop"
    assert event_loops.run(name) != "uvloop"
    assert event_loops.default_options("asyncio") == {"use_uvloop": True}
    assert event_loops.default_options("trio") == {}


def test_without_uvloop_asyncio_runs_all_the_same(monkeypatch: pytest.MonkeyPatch):
    async def name() -> str:
        return type(asyncio.get_running_loop()).__module__

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvloop" else find_spec(name))
    assert event_loops.run(name, backend_options={"use_uvloop": True}) != "uvloop"
    assert event_loops.default_options("asyncio") == {}


def test_a_signal_handler_of_ours_stays_and_works_while_the_loop_is_idle(anyio_backend: Any):
    """Otherwise Ctrl-C would end the kernel instead of interrupting the cell."""
    backend, options = split(anyio_backend)
    seen: list[int] = []

    async def main() -> None:
        stop = event_loops.this_driver().Waiter()

        def handler(signum: int, _: object) -> None:
            seen.append(signum)
            stop.wake()

        signal.signal(signal.SIGINT, handler)
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        await stop.wait(10)
        timer.join()
        assert signal.getsignal(signal.SIGINT) is handler

    previous = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        event_loops.run(main, backend=backend, backend_options=options)
        assert seen == [signal.SIGINT]
        assert callable(signal.getsignal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_loop_in_a_running_loop_is_an_error_that_says_so(anyio_backend: Any):
    backend, options = split(anyio_backend)

    async def inner() -> None: ...

    async def main() -> None:
        with pytest.raises(RuntimeError, match=f"{backend}.*already running"):
            event_loops.run(inner)

    event_loops.run(main, backend=backend, backend_options=options)


def test_outside_loop_lets_user_code_run_a_loop_of_its_own(anyio_backend: Any):
    """`asyncio.run()` and `trio.run()` in a cell that runs in a worker thread."""
    backend, options = split(anyio_backend)

    async def inner() -> Backend | None:
        await anyio.lowlevel.checkpoint()
        return event_loops.running_backend()

    async def main() -> None:
        with event_loops.outside_loop():
            assert event_loops.running_backend() is None
            assert asyncio.run(inner()) is Backend.asyncio
            assert event_loops.run(inner, backend="trio") is Backend.trio
        assert event_loops.running_backend() == backend
        await anyio.lowlevel.checkpoint()
        passed.append(True)

    passed: list[bool] = []
    event_loops.start_thread(main, backend=backend, backend_options=options).join(10)
    assert passed


@pytest.mark.parametrize("backend", ["curio", "", "Trio"])
def test_an_unknown_backend_is_named(backend: str):
    async def main() -> None: ...

    with pytest.raises(ValueError, match=f"expected 'asyncio' or 'trio', got {backend!r}"):
        event_loops.run(main, backend=backend)


def test_trio_that_is_not_installed_is_a_setup_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "async_kernel.scheduling.trio_loop", raising=False)
    monkeypatch.setitem(sys.modules, "trio", None)
    with pytest.raises(SetupError, match="'trio' is not installed; pip install trio"):
        event_loops.driver("trio")


def test_an_unknown_option_is_named():
    async def main() -> None: ...

    with pytest.raises(TypeError, match=r"unknown \['speed'\]"):
        event_loops.run(main, backend_options={"speed": 11})


def test_a_new_thread_starts_with_an_empty_context_and_tells_its_end(anyio_backend: Any):
    """A worker thread that a cell happened to start must not print to that cell for ever."""
    backend, options = split(anyio_backend)
    jobs: list[Any] = []
    ended = threading.Event()

    async def main(_: str) -> None:
        jobs.append(current_job.get())

    token = current_job.set({})  # pyright: ignore[reportArgumentType]
    try:
        thread = event_loops.start_thread(
            main, "x", name="new", backend=backend, backend_options=options, ended=lambda _: ended.set()
        )
    finally:
        current_job.reset(token)
    assert ended.wait(10)
    thread.join(10)
    assert thread.name == "new"
    assert thread.daemon
    assert jobs == [None]


def test_no_loop_no_driver():
    with pytest.raises(RuntimeError, match="no event loop is running in this thread"):
        event_loops.this_driver()


def test_imports_are_what_the_backend_needs():
    """A start on asyncio must not pay for trio, nor the reception of messages for anyio."""
    code = """
import sys
import async_kernel.scheduling.context
assert not {"anyio", "asyncio", "trio"} & sys.modules.keys(), "context"
import async_kernel.caller
from async_kernel.scheduling import event_loops
async def main(): await async_kernel.caller.Caller().call_soon(int)
event_loops.run(main)
assert not {"trio", "anyio._backends._asyncio", "uvloop"} & sys.modules.keys(), "asyncio"
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)


@pytest.mark.parametrize("use_uvloop", [True, False])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_exit_of_another_task_does_not_end_asyncio(use_uvloop: bool, error: type[BaseException]) -> None:
    """asyncio leaves the loop at these, whoever raises them: a background task could end the kernel."""

    async def leave() -> None:
        raise error

    async def main() -> list[type[BaseException]]:
        tasks = [asyncio.create_task(leave()) for _ in range(2)]
        done, _ = await asyncio.wait(tasks, timeout=20)
        return [type(task.exception()) for task in done]  # pyright: ignore[reportReturnType]

    assert event_loops.run(main, backend="asyncio", backend_options={"use_uvloop": use_uvloop}) == [error] * 2


@pytest.mark.parametrize("use_uvloop", [True, False])
def test_exit_of_the_main_task_ends_asyncio(use_uvloop: bool) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        event_loops.run(main, backend="asyncio", backend_options={"use_uvloop": use_uvloop})
