"""`Kernel` in one's own program: three ways to start, one at a time, and everything as before when it has ended."""

from __future__ import annotations

import _thread
import asyncio
import builtins
import gc
import getpass
import os
import signal
import sys
import threading
import weakref
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import comm
import pytest
import trio
import zmq
from jupyter_client.session import Session

from async_kernel import Kernel
from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.scheduling.host import LoopHost
from async_kernel.typing import Backend, Content, Job, MsgType, RunMode, SocketID
from tests.kernels import TIMEOUT, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's is read or written."""
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))


def state() -> dict[str, Any]:
    """What a kernel changes in the process while it runs."""
    return {
        "stdout": sys.stdout,
        "stderr": sys.stderr,
        "displayhook": sys.displayhook,
        "excepthook": sys.excepthook,
        "unraisablehook": sys.unraisablehook,
        "thread": threading.excepthook,
        "starts": (threading.Thread.start, ThreadPoolExecutor.submit, _thread.start_new_thread),
        "system tasks": trio.lowlevel.spawn_system_task,
        "callers": LoopHost.default_excepthook,
        "loop": loop_state(),
        "input": builtins.input,
        "builtins": {name for name in vars(builtins) if name != "_"},
        "getpass": getpass.getpass,
        "create_comm": comm.create_comm,
        "get_comm_manager": comm.get_comm_manager,
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "main": sys.modules["__main__"],
        "environ": dict(os.environ),
        "path": list(sys.path),
        "interval": sys.getswitchinterval(),
    }


def loop_state() -> tuple[Any, ...]:
    """What a kernel changes in a running loop of asyncio."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return ()
    return loop.get_task_factory(), loop.get_exception_handler()


class Client:
    """A client without an event loop, so that it leaves none behind: sockets, and jupyter_client's session."""

    def __init__(self, kernel: Kernel) -> None:
        info = ConnectionInfo.parse(kernel.get_connection_info())
        self.session = Session(key=info.key)
        self.context: zmq.Context[Any] = zmq.Context()
        self.shell = self.context.socket(zmq.DEALER)
        self.iopub = self.context.socket(zmq.SUB)
        self.iopub.subscribe(b"")
        self.shell.connect(info.url(SocketID.shell))
        self.iopub.connect(info.url(SocketID.iopub))
        assert self.receive(self.iopub)["msg_type"] == "iopub_welcome"

    def receive(self, socket: zmq.Socket[Any]) -> dict[str, Any]:
        assert socket.poll(int(TIMEOUT * 1000)), "no message"
        return self.session.deserialize(self.session.feed_identities(socket.recv_multipart())[1])

    def request(self, msg_type: str, **content: Any) -> tuple[Content, list[dict[str, Any]]]:
        """The content of the reply, and what was published between busy and idle."""
        request: Any = self.session.send(self.shell, msg_type, content)
        msg_id = request["header"]["msg_id"]
        published: list[dict[str, Any]] = []
        while True:
            message = self.receive(self.iopub)
            if message["parent_header"].get("msg_id") == msg_id:
                published.append(message)
                if message["content"] == {"execution_state": "idle"}:
                    break
        reply = self.receive(self.shell)
        assert reply["parent_header"]["msg_id"] == msg_id
        return reply["content"], published

    def close(self) -> None:
        self.context.destroy(linger=0)


@asynccontextmanager
async def connected(kernel: Kernel) -> AsyncGenerator[Client]:
    client = await anyio.to_thread.run_sync(Client, kernel)
    try:
        yield client
    finally:
        client.close()


async def run_cell(client: Client, code: str) -> tuple[Content, list[dict[str, Any]]]:
    return await anyio.to_thread.run_sync(lambda: client.request("execute_request", code=code))


async def test_inside_a_running_loop(anyio_backend: str, tmp_path: Path) -> None:
    """Embedding: a user's own program runs cells, and is what it was when the kernel has ended."""
    before = state()
    file = tmp_path / "k.json"
    async with Kernel({"connection_file": file, "history": "memory"}) as kernel:
        assert kernel.anyio_backend is Backend(anyio_backend)
        assert kernel.kernel_name == ("async-trio" if anyio_backend == "trio" else "async")
        assert kernel.event_started.is_set()
        assert file.stat().st_mode & 0o777 == 0o600
        async with connected(kernel) as client:
            code = f"import {anyio_backend} as m\nawait m.sleep(0)\nprint('hello')\n6*7"
            reply, published = await run_cell(client, code)
            assert reply["status"] == "ok"
            assert text_of(published) == "hello\n"
            (result,) = [m for m in published if m["msg_type"] == "execute_result"]
            assert result["content"]["data"] == {"text/plain": "42"}
        assert kernel.settings["connection_file"] == file
    assert kernel.event_stopped.is_set()
    assert not file.exists()
    after = state()
    assert {name: after[name] for name in after if after[name] != before[name]} == {}


async def test_it_can_be_collected(anyio_backend: str) -> None:
    """A program that starts kernels again and again does not grow."""
    async with Kernel({"history": "off"}) as kernel:
        pass
    gone = weakref.ref(kernel)
    del kernel
    gc.collect()
    assert gone() is None


async def test_one_kernel_a_process(anyio_backend: str) -> None:
    kernel = Kernel()
    assert Kernel() is kernel
    async with kernel:
        assert Kernel() is kernel
        with pytest.raises(RuntimeError, match="running"):
            kernel.load_settings({"quiet": False})
        with pytest.raises(RuntimeError, match="started before"):
            await type(kernel).__asynccontextmanager__(kernel).__aenter__()
    assert Kernel() is not kernel
    with pytest.raises(RuntimeError):
        async with kernel:
            pass


async def test_stop_ends_the_body(anyio_backend: str) -> None:
    """`Kernel.stop` from any thread ends `async with`, as a client's shutdown request does."""
    ended = False
    async with Kernel({"history": "off"}) as kernel:
        threading.Thread(target=kernel.stop).start()
        await anyio.sleep_forever()
        ended = True
    assert not ended
    assert kernel.event_stopped.is_set()


async def test_a_failing_body_is_not_swallowed(anyio_backend: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Kernel({"history": "off"}):
            raise ZeroDivisionError


async def test_a_subclass_customises_a_request(anyio_backend: str) -> None:
    """Handlers are found by name on the kernel; what overrides one may wait."""

    class Shouting(Kernel):
        async def execute_request(self, job: Job[Any], /) -> Content | None:
            await anyio.lowlevel.checkpoint()
            job["msg"]["content"]["code"] = job["msg"]["content"]["code"].upper()
            return await super().execute_request(job)

        async def kernel_info_request(self, job: Job[Any], /) -> Content | None:
            await anyio.lowlevel.checkpoint()
            return {**self.kernel_info, "banner": "SHOUTING"}

    async with Shouting({"history": "off"}) as kernel, connected(kernel) as client:
        reply, _ = await run_cell(client, "a = 'b'")
        assert reply["status"] == "ok"
        assert kernel.main_shell.user_ns["A"] == "B"
        info, _ = await anyio.to_thread.run_sync(client.request, "kernel_info_request")
        assert info["banner"] == "SHOUTING"


def test_run_in_another_thread() -> None:
    """It works there too, without signals."""
    kernel = Kernel({"history": "off"})
    thread = threading.Thread(target=kernel.run)
    thread.start()
    assert kernel.event_started.wait(TIMEOUT)
    client = Client(kernel)
    assert client.request("execute_request", code="1")[0]["status"] == "ok"
    client.close()
    Kernel.stop()
    thread.join(TIMEOUT)
    assert kernel.event_stopped.is_set()


def test_run_until_the_function_completes() -> None:
    async def wait() -> None:
        await anyio.lowlevel.checkpoint()

    kernel = Kernel({"anyio_backend": "trio", "history": "off"})
    kernel.run(wait)
    assert kernel.event_stopped.is_set()
    with pytest.raises(RuntimeError):
        kernel.run(wait)


def test_a_name_with_trio_means_trio() -> None:
    assert Kernel({"kernel_name": "my-Trio"}).anyio_backend is Backend.trio


def test_connection_info_is_loaded_once() -> None:
    kernel = Kernel()
    info = ConnectionInfo.new().as_dict()
    kernel.load_connection_info(info)
    with pytest.raises(RuntimeError):
        kernel.load_connection_info(info)


async def test_a_taken_port_leaves_nothing(anyio_backend: str, tmp_path: Path) -> None:
    before = state()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        kernel = Kernel({"connection_file": tmp_path / "k.json"})
        kernel.load_connection_info({**ConnectionInfo.new().as_dict(), "shell_port": port})
        with pytest.raises(SetupError, match=str(port)):
            async with kernel:
                pass
    assert state() == before
    assert kernel.event_stopped.is_set()


def test_run_modes_as_a_table() -> None:
    kernel = Kernel({"run_modes": {"execute_request": "task"}})
    table = kernel.all_concurrency_run_modes([SocketID.shell], [MsgType.execute_request, MsgType.debug_request])
    assert table == {
        "SocketID": [SocketID.shell, SocketID.shell],
        "MsgType": [MsgType.execute_request, MsgType.debug_request],
        "RunMode": [RunMode.task, None],
    }
    assert kernel.get_run_mode(MsgType.execute_request, socket_id=SocketID.control) is RunMode.queue


def test_a_handler_of_an_unknown_type() -> None:
    with pytest.raises(TypeError, match="frobnicate"):
        Kernel().get_handler("frobnicate")
