"""Faults of output, child processes and clients: the rows of docs/faults.md, with real kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import TIMEOUT, RunningKernel, running, text_of

pytestmark = pytest.mark.slow

Start = Callable[..., RunningKernel]


@pytest.fixture(scope="module", params=["default", "trio"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """A kernel for each backend."""
    with running(tmp_path_factory.mktemp("kernel") / "k.json", "--profile", request.param) as kernel:
        yield kernel


def outcome(kernel: RunningKernel, code: str) -> tuple[str, str, str]:
    """The status of a cell, or the name of its error, and what it has written to stdout and stderr."""
    reply, published = kernel.run(code)
    content = reply["content"]
    return content.get("ename", content["status"]), text_of(published), text_of(published, "stderr")


# -- descriptors ------------------------------------------------------------------------------------------------------


def test_c_code_that_keeps_the_gil_and_writes_much(kernel: RunningKernel) -> None:
    """A verbose solver would hang the kernel for ever, when the pipe is full that only the kernel reads."""
    code = """
    import ctypes, os
    data = b"".join(b"%07d\\n" % n for n in range(1 << 18))
    written = ctypes.PyDLL(None).write(1, data, len(data))
    try:
        os.wait()
    except ChildProcessError:
        print(written)
    """
    expected = "".join(f"{n:07d}\n" for n in range(1 << 18))
    status, out, _ = outcome(kernel, code)
    assert status == "ok"
    assert out.replace("2097152\n", "") == expected
    assert outcome(kernel, "print('next')") == ("ok", "next\n", "")


def test_closed_descriptors(kernel: RunningKernel) -> None:
    """What is opened next would get the number, and what programs print would be written into it."""
    for closed in ("1", "2", "1, 2"):
        assert outcome(kernel, f"import os\nfor fd in ({closed},): os.close(fd)")[0] == "ok"
        # Where something else was opened meanwhile, it may keep the number for a moment.
        for _ in range(50):
            status, out, err = outcome(kernel, "_ = os.system('echo out; echo err >&2')")
            assert status == "ok"
            if "out\n" in out and "err\n" in err:
                break
        else:
            pytest.fail(f"what programs write to {closed} is not shown")
    assert outcome(kernel, "print('alive')") == ("ok", "alive\n", "")


def test_a_redirected_descriptor(kernel: RunningKernel, tmp_path: Path) -> None:
    """A cell that sends the output of programs elsewhere has its way, and can take it back."""
    file = tmp_path / "out.txt"
    code = f"""
    import os
    saved, file = os.dup(1), os.open({str(file)!r}, os.O_CREAT | os.O_WRONLY)
    _ = os.dup2(file, 1), os.system("echo to the file"), print("to the cell")
    """
    assert outcome(kernel, code) == ("ok", "to the cell\n", "")
    assert file.read_text() == "to the file\n"
    code = "_ = os.dup2(saved, 1), os.close(saved), os.close(file), os.system('echo shown')"
    assert outcome(kernel, code) == ("ok", "shown\n", "")


@pytest.mark.parametrize("kill", [True, False])
def test_who_outlives_the_kernel(start_kernel: Start, kill: bool) -> None:
    """A child that prints would wait for ever where nobody reads, and what reads for the kernel must end with it."""
    kernel = start_kernel()
    code = """
    import ctypes, subprocess
    _ = ctypes.PyDLL(None)
    child = subprocess.Popen(["sh", "-c", "while echo y; do sleep 0.05; done"], stderr=subprocess.DEVNULL)
    """
    assert outcome(kernel, code)[0] == "ok"
    reply, _ = kernel.run("", user_expressions={"pid": "child.pid"})
    pid = int(reply["content"]["user_expressions"]["pid"]["data"]["text/plain"])
    reading = [each for each in processes() if str(kernel.process.pid) in each[1] and "rescue" in "".join(each[1])]
    assert len(reading) == 1
    kernel.client.stop_channels()
    if kill:
        kernel.process.kill()
        kernel.connection_file.unlink()
    else:
        kernel.process.terminate()
    kernel.process.wait(TIMEOUT)
    deadline = time.monotonic() + TIMEOUT
    while {pid, reading[0][0]} & {each for each, _ in processes()}:
        assert time.monotonic() < deadline
        os.sched_yield()


def processes() -> list[tuple[int, list[str]]]:
    """The numbers and the words of all processes that run."""
    found: list[tuple[int, list[str]]] = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with suppress(OSError):  # It has ended meanwhile.
                if words := (each / "cmdline").read_text("utf-8", "replace").split("\0")[:-1]:
                    found.append((int(each.name), words))
    return found


# -- Python's streams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_lost_streams(kernel: RunningKernel, name: str) -> None:
    """Without `sys.stderr` no thread can be started: the kernel could neither be interrupted nor stopped."""
    deleted = f"sys.{name} was deleted; it is the cells' {name} again\n"
    assert outcome(kernel, f"import sys; kept = sys.{name}; del sys.{name}") == ("ok", "", deleted)
    assert outcome(kernel, f"print('hi', file=sys.{name})")[1:] == (("hi\n", "") if name == "stdout" else ("", "hi\n"))
    assert outcome(kernel, f"sys.{name}.close()") == ("ok", "", "")
    for broken in ("None", "3", "__import__('io').StringIO()"):
        assert outcome(kernel, f"sys.{name} = {broken}")[0] == "ok"
        reply, published = kernel.run("1/0")
        assert [m["content"]["ename"] for m in published if m["msg_type"] == "error"] == ["ZeroDivisionError"]
        assert reply["content"]["status"] == "error"
        assert outcome(kernel, "raise SystemExit(2)") == ("SystemExit", "", "To exit: use 'exit' or 'quit'.\n")
        if broken != "__import__('io').StringIO()":
            assert outcome(kernel, "!echo sub") == ("ok", "sub\n", "")
    assert outcome(kernel, f"sys.{name} = kept; print('hi')") == ("ok", "hi\n", "")


def test_an_interrupt_where_stderr_is_deleted(kernel: RunningKernel) -> None:
    msg_id = kernel.client.execute("import sys, time; del sys.stderr; print('now', flush=True); time.sleep(60)")
    kernel.begun(msg_id)
    kernel.interrupt()
    assert kernel.reply(msg_id)["content"]["ename"] == "KernelInterruptError"
    assert outcome(kernel, "print('hi', file=sys.stderr)") == ("ok", "", "hi\n")


def test_output_is_redirected_by_a_task(kernel: RunningKernel) -> None:
    """As in Python: it is redirected for everybody, until the task ends."""
    start = """
    import contextlib, io
    from async_kernel import Caller, Pending
    buffer, gate = io.StringIO(), Pending()
    async def redirect():
        with contextlib.redirect_stdout(buffer):
            started.set_result(None)
            await gate
    started = Pending()
    call = Caller().call_soon(redirect)
    await started
    """
    assert outcome(kernel, start)[0] == "ok"
    assert outcome(kernel, "print('of another cell')") == ("ok", "", "")
    assert outcome(kernel, "gate.set_result(None); await call; print(buffer.getvalue(), end='')")[1] == (
        "of another cell\n"
    )


# -- child processes --------------------------------------------------------------------------------------------------

FORKS = {
    "raise ValueError('of the child')": (1, "ValueError: of the child\n"),
    "sys.exit(5)": (5, ""),
    "sys.exit('why')": (1, "why\n"),
    "print('more')": (0, ""),
    "await Pending()": (1, ""),
    "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)": (-15, ""),
    "threading.Thread(target=lambda: 1/0, daemon=False).start()": (0, "ZeroDivisionError: division by zero\n"),
    "input('?')": (1, "EOFError: EOF when reading a line\n"),
}


@pytest.mark.parametrize("header", ["", "# thread\n"])
def test_a_forked_child_is_not_the_kernel(kernel: RunningKernel, header: str) -> None:
    """It would answer requests beside the kernel, take them from it, and wait in its loop for ever."""
    for code, (status, error) in FORKS.items():
        if header and "await" in code:
            continue
        cell = f"""{header}
import os, signal, sys, threading, time
from async_kernel import Pending
pid = os.fork()
if pid == 0:
    print("a line", end=" "); print("of the child")
    {code}
else:
    print("exit code", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
        ended, out, err = outcome(kernel, cell)
        assert ended == "ok", code
        assert "a line of the child\n" in out
        assert f"exit code {status}\n" in out, code
        assert err.endswith(error), code
        assert bool(err) or not error
    assert kernel.connection_file.exists()
    assert outcome(kernel, "print('alive')") == ("ok", "alive\n", "")


def test_a_forked_call_ends_where_it_comes_back_to_the_loop(kernel: RunningKernel) -> None:
    code = """
    import os
    from async_kernel import Caller
    def forks():
        return os.fork()
    pid = await Caller().call_soon(forks)
    print("exit code", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    _, out, err = outcome(kernel, code)
    assert out == "exit code 1\n"
    assert err == (
        "a forked process has come to an await, or to the end of its task: it ends, as its event loop is the kernel's\n"
    )


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(kernel: RunningKernel, method: str) -> None:
    """Results come, what children print is in the cell, and so are their errors."""
    code = f"""
    import concurrent.futures, math, multiprocessing
    context = multiprocessing.get_context({method!r})
    with context.Pool(1) as pool:
        print(pool.map(abs, [-1, 2]))
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        print(list(pool.map(math.sqrt, [4])))
    for target, args in ((print, ("of a child",)), (math.sqrt, (-1,))):
        child = context.Process(target=target, args=args)
        child.start()
        child.join()
        print("exit code", child.exitcode)
    """
    status, out, err = outcome(kernel, code)
    assert status == "ok"
    assert sorted(out.splitlines()) == ["[1, 2]", "[2.0]", "exit code 0", "exit code 1", "of a child"]
    assert err.endswith("ValueError: math domain error\n")


# -- the end ----------------------------------------------------------------------------------------------------------

AT_EXIT = """
import atexit, os, sys, threading
class Loud:
    def __del__(self): print("finalized"); print("finalized, too", file=sys.stderr)
sys.modules["keeps it"] = Loud()
ending = threading.Event()
def last():
    ending.set()
    print("at exit"); print("at exit, too", file=sys.stderr); os.system("echo child at exit")
_ = atexit.register(last)
def shout():
    while ending.wait():
        print("|", end=""); sys.stderr.write("-")
for _ in range(3):
    threading.Thread(target=shout, daemon=True).start()
"""


@pytest.mark.parametrize("profile", ["default", "trio"])
def test_output_at_exit(start_kernel: Start, profile: str) -> None:
    """Daemon threads that print at the end have made interpreters crash; nothing of what is said there is lost."""
    kernel = start_kernel("--profile", profile)
    assert kernel.run(AT_EXIT)[0]["content"]["status"] == "ok"
    kernel.client.stop_channels()
    kernel.process.terminate()
    out, err = kernel.process.communicate(timeout=TIMEOUT)
    assert kernel.process.returncode == 0
    for text in ("finalized\n", "at exit\n", "child at exit\n"):
        assert text in out
    for text in ("finalized, too\n", "at exit, too\n"):
        assert text.replace("\n", "") in err
    assert "Fatal" not in err
    assert "Traceback" not in err
    assert not kernel.connection_file.exists()


def test_the_terminals_streams_are_closed(start_kernel: Start) -> None:
    """The kernel would end with an error that nobody understands, and take its log along."""
    kernel = start_kernel()
    assert outcome(kernel, "import sys; sys.__stdout__.close(); sys.__stderr__.close()")[0] == "ok"
    assert outcome(kernel, "print('hi')") == ("ok", "hi\n", "")
    kernel.client.stop_channels()
    kernel.process.terminate()
    assert kernel.process.wait(TIMEOUT) == 0
    assert not kernel.connection_file.exists()


# -- clients ----------------------------------------------------------------------------------------------------------

CLIENT = """
import sys, time
from jupyter_client.blocking.client import BlockingKernelClient
client = BlockingKernelClient(connection_file=sys.argv[1])
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=20)
client.execute(sys.argv[2], allow_stdin=True)
if "input" in sys.argv[2]:
    client.get_stdin_msg(timeout=20)
print("sent", flush=True)
time.sleep(1000)
"""


def test_clients_that_vanish(start_kernel: Start) -> None:
    """Killed while the kernel sends them 400 MB, or waits for their answer: memory is bounded, others are served."""
    kernel = start_kernel()
    kernel.run("1")
    before = resident(kernel)
    flood = "import builtins; k = get_ipython().kernel\nfor n in range(8):\n"
    flood += "    k.iopub_send('display_data', {'data': {}, 'metadata': {}}, buffers=[bytes(50 << 20)])"
    with client_of(kernel, flood):
        displays = 0
        while displays < 2:
            displays += kernel.client.get_iopub_msg(timeout=TIMEOUT)["msg_type"] == "display_data"
        assert resident(kernel) - before < 300 << 20
    assert outcome(kernel, "print('served')") == ("ok", "served\n", "")
    with client_of(kernel, "answer = input('?')"):
        pass
    kernel.interrupt()
    assert outcome(kernel, "print('served', 'answer' in globals())") == ("ok", "served False\n", "")


class client_of:
    """A client in a process of its own that executes something, reads nothing, and is killed."""

    def __init__(self, kernel: RunningKernel, code: str) -> None:
        command = [sys.executable, "-c", CLIENT, str(kernel.connection_file), code]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "sent\n"

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT)


def resident(kernel: RunningKernel) -> int:
    """Bytes of memory that the kernel has."""
    lines = Path(f"/proc/{kernel.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


# -- clocks, events ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [7200, -7200])
def test_the_clock_is_set(kernel: RunningKernel, seconds: int) -> None:
    """Timeouts would never end, `%jobs` and `ps` would say that something began in the future."""
    code = f"""
    import time
    real = time.time, time.time_ns
    time.time = lambda: real[0]() + {seconds}
    time.time_ns = lambda: real[1]() + {seconds} * 10**9
    print("set", flush=True)
    time.sleep(60)
    """
    msg_id = kernel.client.execute(code)
    kernel.begun(msg_id)
    kernel.interrupt()
    assert kernel.reply(msg_id)["content"]["ename"] == "KernelInterruptError"
    reply, published = kernel.run("%jobs")
    assert 0 <= float(text_of(published).splitlines()[1].split(" s ")[0].split()[-1]) < TIMEOUT
    assert abs(reply["header"]["date"].timestamp() - time.time() - seconds) < TIMEOUT
    said: dict[str, Any] = kernel.reply(kernel.client.kernel_info())["content"]["async_kernel"]
    assert 0 < said["uptime"] < 600
    assert outcome(kernel, "time.time, time.time_ns = real") == ("ok", "", "")


def test_an_interrupt_in_an_event_around_a_comm(kernel: RunningKernel) -> None:
    """It was told as a failure of the event, and the interrupt was lost."""
    prepare = """
    import comm, time
    def opened(new, _msg):
        new.on_msg(lambda _: None)
    comm.get_comm_manager().register_target("events", opened)
    def waits():
        if comm_runs: print("waits", flush=True); time.sleep(60)
    comm_runs = False
    get_ipython().events.register("pre_execute", waits)
    comm_runs = "comm" in get_ipython().get_parent()["header"]["msg_type"]
    """
    prepare = prepare.replace("if comm_runs:", "if 'comm_msg' in get_ipython().get_parent()['header']['msg_type']:")
    assert outcome(kernel, prepare)[0] == "ok"
    session, channel = kernel.client.session, kernel.client.shell_channel
    channel.send(session.msg("comm_open", {"comm_id": "e", "target_name": "events", "data": {}}))
    message = session.msg("comm_msg", {"comm_id": "e", "data": {}})
    channel.send(message)
    msg_id = kernel.begun(message["header"]["msg_id"])
    kernel.interrupt()
    published = kernel.published(msg_id)
    assert [m for m in published if m["msg_type"] == "error"] == []
    assert "Error in callback" not in text_of(published)
    assert outcome(kernel, "get_ipython().events.unregister('pre_execute', waits)")[0] == "ok"
