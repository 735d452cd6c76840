"""A plain script in a process of its own, without a kernel: what a user who only wants `Caller` runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

EXCHANGE = """
import asyncio, gc, sys, threading
import anyio.lowlevel
from async_kernel import Caller, Pending

EACH = 2_500
EXPECTED = sum(2 * i for i in range(EACH))
backends = set()

async def double(i):
    await anyio.lowlevel.checkpoint()
    return 2 * i

def say_backend():
    backends.add(Caller().backend.value)

async def ask(target):
    target.call_direct(say_backend)
    return sum([await pending for pending in [target.call_soon(double, i) for i in range(EACH)]])

def ask_both(one, other, answer):
    pendings = [target.call_soon(double, i) for i in range(EACH) for target in (one, other)]
    answer.set_result(sum(pending.wait_sync(timeout=40) for pending in pendings))

async def main():
    async with Caller("manual", name="main") as main_caller:
        worker = main_caller.get(name="worker", backend="trio")
        answer = Pending()
        thread = threading.Thread(target=ask_both, args=(main_caller, worker, answer))
        thread.start()
        back = worker.call_soon(ask, main_caller)
        print(await ask(worker) == EXPECTED, await back == EXPECTED, await answer == 2 * EXPECTED)
        thread.join(10)

asyncio.run(main())
print(*sorted(backends))
print("callers:", Caller.all_callers(running_only=False))
print("threads:", [thread.name for thread in threading.enumerate()])
gc.collect()
print("pendings:", sum(isinstance(each, Pending) for each in gc.get_objects()))
print("kernel:", sorted({"IPython", "zmq", "traitlets"} & sys.modules.keys()))
"""

EXCHANGED = """\
True True True
asyncio trio
callers: []
threads: ['MainThread']
pendings: 0
kernel: []
"""

WITHOUT_TRIO = """
import sys, threading
sys.modules["trio"] = None  # as if it were not installed
from async_kernel import Caller
from async_kernel.errors import SetupError

try:
    Caller("NewThread", backend="trio")
except SetupError as error:
    print(error)
caller = Caller("NewThread", backend="asyncio")
try:
    caller.get(backend="trio")
except SetupError as error:
    print(error)
print(caller.call_soon(int).wait_sync(timeout=20))
caller.stop()
caller.stopped.wait(20)
caller.thread.join(20)
print([thread.name for thread in threading.enumerate()], Caller.all_callers(running_only=False))
"""

NOT_STOPPED = """
import threading, time
from async_kernel import Caller

caller = Caller("NewThread", backend=BACKEND)
worker = caller.get()
running = threading.Event()
caller.call_soon(running.set).wait_sync(timeout=20)
caller.to_thread(time.sleep, 60)
worker.queue_call(time.sleep, 60)
print("the script ends")
"""


def run(script: str) -> tuple[str, str, int]:
    """What a script prints, its warnings being errors, and how it ends."""
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    return done.stdout, done.stderr, done.returncode


@pytest.mark.slow
def test_asyncio_a_trio_worker_and_a_plain_thread_exchange_10_000_calls_and_leave_nothing():
    assert run(EXCHANGE) == (EXCHANGED, "", 0)


@pytest.mark.slow
def test_without_trio_its_name_is_a_clear_error_and_asyncio_works():
    out, err, code = run(WITHOUT_TRIO)
    first, second, *rest = out.splitlines()
    assert (err, code) == ("", 0)
    for line in (first, second):
        assert "'trio' is not installed; pip install trio" in line
    assert rest == ["0", "['MainThread'] []"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_script_that_forgets_to_stop_its_callers_ends_all_the_same(backend: str):
    """Their threads are daemons: a blocking call in one of them does not keep the process alive."""
    assert run(NOT_STOPPED.replace("BACKEND", repr(backend))) == ("the script ends\n", "", 0)
