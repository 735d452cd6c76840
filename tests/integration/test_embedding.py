"""A kernel inside a user's own program, and a real client for it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.kernels import TIMEOUT, RunningKernel, text_of, wait_for_file

pytestmark = pytest.mark.slow

Start = Callable[[str], RunningKernel]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program of the user's, in which `FILE` is a connection file, and connect to it."""
    kernels: list[RunningKernel] = []

    def start_program(program: str) -> RunningKernel:
        file = tmp_path / "k.json"
        script = tmp_path / "program.py"
        script.write_text(f"FILE = {str(file)!r}\n{dedent(program)}", "utf-8")
        process = subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for_file(file, process)
        kernels.append(RunningKernel(process, file))
        return kernels[-1]

    yield start_program
    for kernel in kernels:
        if not kernel.process.stdout or not kernel.process.stdout.closed:
            kernel.stop()


def end(kernel: RunningKernel, code: str = "exit") -> tuple[str, str, int]:
    """End the kernel by a cell; what the program has printed at its end."""
    kernel.client.execute(code, allow_stdin=False)
    stdout, stderr = kernel.process.communicate(timeout=TIMEOUT)
    kernel.client.stop_channels()
    return stdout, stderr, kernel.process.returncode


EMBED = """
    import sys
    import async_kernel

    above = "module"

    def compute(n):
        squares = [i * i for i in range(n)]
        found = {}
        async_kernel.embed(connection_file=FILE, settings={"anyio_backend": "BACKEND", "history": "memory"})
        return found

    before = sys.stdout, sys.modules["__main__"], sys.displayhook
    print("found", compute(4))
    print(before == (sys.stdout, sys.modules["__main__"], sys.displayhook), "x" in globals())
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_embed_in_a_function(start: Start, backend: str) -> None:
    """A user who stops in a function would not see its names, or the program would not go on afterwards."""
    kernel = start(EMBED.replace("BACKEND", backend))
    assert text_of(kernel.run("print(n, squares, above, compute.__name__)")[1]) == "4 [0, 1, 4, 9] module compute\n"
    code = "def total():\n    return sum(squares) + n\nx = [i + n for i in squares]\nfound['total'] = total()"
    assert kernel.run(code)[0]["content"]["status"] == "ok"
    assert (
        text_of(kernel.run("import anyio\nawait anyio.sleep(0)\nprint(x, __name__)")[1]) == "[4, 5, 8, 13] __main__\n"
    )
    msg_id = kernel.client.complete("squar")
    assert kernel.reply(msg_id)["content"]["matches"] == ["squares"]
    msg_id = kernel.client.complete("abov")
    assert kernel.reply(msg_id)["content"]["matches"] == ["above"]
    stdout, stderr, code_of_exit = end(kernel)
    assert stdout == "found {'total': 18}\nTrue False\n"
    assert f"jupyter console --existing {kernel.connection_file}" in stderr
    assert code_of_exit == 0


def test_embed_at_the_top_and_again(start: Start) -> None:
    """What a client assigns would be lost for the script, or a second `embed` would not start."""
    kernel = start(
        """
        import async_kernel, json
        x = 1
        async_kernel.embed(connection_file=FILE)
        names = {"y": 2}
        async_kernel.embed(connection_file=FILE + "2", local_ns=names, module=json, announce=lambda kernel: None)
        print(x, sorted(names), "In" in globals())
        """
    )
    kernel.run("x = x + 10")
    kernel.client.shutdown()
    kernel.client.stop_channels()
    second = Path(f"{kernel.connection_file}2")
    wait_for_file(second, kernel.process)
    again = RunningKernel(kernel.process, second)
    assert text_of(again.run("z = dumps([y])\nprint(z)")[1]) == "[2]\n"
    stdout, stderr, _ = end(again)
    assert stdout == "11 ['y', 'z'] False\n"
    assert "Error" not in stderr


def test_signals_while_embedded(start: Start) -> None:
    """Ctrl-C would end the program instead of the kernel; SIGTERM would end the kernel, and the program go on."""
    program = """
        import async_kernel
        async_kernel.embed(connection_file=FILE)
        print("goes on")
        """
    kernel = start(program)
    kernel.client.stop_channels()
    kernel.process.send_signal(signal.SIGINT)
    assert kernel.process.communicate(timeout=TIMEOUT)[0] == "goes on\n"
    kernel.connection_file.unlink(missing_ok=True)
    kernel = start(program)
    kernel.client.stop_channels()
    kernel.process.send_signal(signal.SIGTERM)
    assert kernel.process.communicate(timeout=TIMEOUT)[0] == ""
    assert kernel.process.returncode == -signal.SIGTERM


REFUSED = {
    "async def main():\n    async_kernel.embed()\nasyncio.run(main())": "an event loop (asyncio) runs in this thread",
    "import trio\nasync def main():\n    async_kernel.embed()\ntrio.run(main)": "use `async with Kernel():`",
    "async_kernel.embed(settings={'nope': 1})": "nope",
}


@pytest.mark.parametrize("program", REFUSED)
def test_where_embed_can_not_be(program: str) -> None:
    """The program would hang without a word."""
    code = f"import asyncio, async_kernel\n{program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert REFUSED[program] in done.stderr.splitlines()[-1]


def test_embed_in_a_thread_of_a_program_with_a_loop(start: Start) -> None:
    """The message says that another thread can embed: it has to be true."""
    kernel = start(
        """
        import asyncio, async_kernel

        async def main():
            ticks = []
            async def tick():
                while True:
                    ticks.append(1)
                    await asyncio.sleep(0.001)
            ticking = asyncio.create_task(tick())
            def look():
                inner = "local"
                async_kernel.embed(connection_file=FILE)
            await asyncio.to_thread(look)
            print(len(ticks) > 2, ticking.done())
            ticking.cancel()

        asyncio.run(main())
        """
    )
    assert text_of(kernel.run("print(inner)")[1]) == "local\n"
    assert end(kernel)[0] == "True False\n"


INSIDE = """
    import json
    import sys

    import anyio
    from async_kernel import Kernel

    class Own(Kernel):
        async def execute_request(self, job, /):
            if job["msg"]["content"]["code"] == "ping":
                self.iopub_send("stream", {"name": "stdout", "text": "pong"})
                return {"status": "ok", "execution_count": 0, "user_expressions": {}, "payload": []}
            return await super().execute_request(job)

    state = {"ticks": 0, "stop": False}

    async def tick():
        while not state["stop"]:
            state["ticks"] += 1
            await anyio.sleep(0.001)

    async def main():
        before = sys.stdout, sys.stderr, sys.displayhook, sys.modules["__main__"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            async with Own({"connection_file": FILE}) as kernel:
                kernel.main_shell.user_ns["state"] = state
                while not state["stop"]:
                    await anyio.sleep(0.001)
            print(json.dumps(state), before == (sys.stdout, sys.stderr, sys.displayhook, sys.modules["__main__"]))

    anyio.run(main, backend="BACKEND")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_inside_a_program_that_has_a_loop(start: Start, backend: str) -> None:
    """The program's own tasks would stand still while a client is connected, or not be as before afterwards."""
    kernel = start(INSIDE.replace("BACKEND", backend))
    assert text_of(kernel.run("ping")[1]) == "pong"
    code = "a = state['ticks']\nimport anyio\nwhile state['ticks'] < a + 3: await anyio.sleep(0.001)\nprint('live')"
    assert text_of(kernel.run(code)[1]) == "live\n"
    stdout, stderr, code_of_exit = end(kernel, "state['stop'] = True")
    state, same = stdout.rsplit(" ", 1)
    assert json.loads(state)["ticks"] > 3
    assert (same, stderr, code_of_exit) == ("True\n", "", 0)


def test_in_a_thread(start: Start) -> None:
    """A program that needs its main thread for itself could have no kernel."""
    kernel = start(
        """
        import threading
        from async_kernel import Kernel

        thread = threading.Thread(target=lambda: Kernel({"connection_file": FILE}).run())
        thread.start()
        thread.join()
        print("ended")
        """
    )
    assert text_of(kernel.run("import threading\nprint(threading.current_thread() is threading.main_thread())")[1]) == (
        "False\n"
    )
    msg_id = kernel.begun(kernel.client.execute("print(1, flush=True)\nimport time\nwhile True: time.sleep(0.01)"))
    kernel.interrupt()
    assert kernel.reply(msg_id)["content"]["ename"] == "KernelInterruptError"
    assert end(kernel)[:2] == ("ended\n", "")
