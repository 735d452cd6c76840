"""The measures of a kernel that every kernel can take part in, and what the other measures share with them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import zmq

from benchmarks.client import Client, Request, WrongAnswerError
from benchmarks.kernels import RunningKernel

Samples = dict[str, list[float]]
"""What one call measured: lists of values by `Row.samples`; times in milliseconds."""

ROUND_TRIPS, BURST, PRINTS, PROBES = 40, 1000, 20_000, 20
SLEEP = "import time; time.sleep(0.6)"
COMPUTE = """
import time
end, x = time.monotonic() + 1.2, 0
while time.monotonic() < end:
    for i in range(1000):
        x += i
"""

# A library that is called with the lock held (`PyDLL`) sleeps; the clock is the one that the client's process has too.
# The sleep before it lets the busy status out.
LOCKED = """
import ctypes, time
time.sleep(0.2)
locked = time.monotonic()
ctypes.PyDLL(None).usleep(700_000)
locked, time.monotonic()
"""


def life(kernel: RunningKernel) -> Samples:
    """A kernel just spawned: until it answers, until it has executed, what that cost, until it is gone."""
    client = kernel.client
    client.reply(client.request("kernel_info_request"), "shell", 15)
    kernel_info = kernel.since_start()
    client.reply(client.execute("pass"), "shell", 15)
    first_execute = kernel.since_start()
    cpu_ready = kernel.cpu_seconds()
    time.sleep(0.5)
    cpu_settled, rss = kernel.cpu_seconds(), kernel.resident_mib()
    times = {
        "kernel_info": kernel_info,
        "first_execute": first_execute,
        "cpu_ready": cpu_ready,
        "cpu_settled": cpu_settled,
    }
    return {**milliseconds({**times, "gone": kernel.shut_down()}), "rss": [rss]}


def round_trips(kernel: RunningKernel) -> Samples:
    """One small cell after another, each from the request to its reply and its idle."""
    return {
        "pass": [round_trip(kernel, "pass", lambda published: not results(published)) for _ in range(ROUND_TRIPS)],
        "sum": [round_trip(kernel, "1+1", lambda published: results(published) == ["2"]) for _ in range(ROUND_TRIPS)],
    }


def round_trip(kernel: RunningKernel, code: str, also: Callable[[list[dict[str, Any]]], bool]) -> float:
    requests = [kernel.client.execute(code)]
    with quiet_collector():
        answer = kernel.client.run(requests)
    kernel.client.check(answer, requests, also)
    return answer.seconds * 1000


def results(published: list[dict[str, Any]]) -> list[str]:
    return [m["content"]["data"]["text/plain"] for m in published if m["msg_type"] == "execute_result"]


def run_silently(kernel: RunningKernel, code: str) -> None:
    """Run a cell that prepares a measure; it must put out nothing."""
    requests = [kernel.client.execute(code)]
    kernel.client.check(kernel.client.run(requests), requests, lambda published: not results(published))


def burst(kernel: RunningKernel) -> Samples:
    """A thousand cells sent at once; the rate at which they are done."""
    requests = [kernel.client.execute("pass") for _ in range(BURST)]
    with quiet_collector():
        answer = kernel.client.run(requests, timeout=30)
    kernel.client.check(answer, requests, lambda published: not results(published))
    return {"burst": [BURST / answer.seconds]}


def prints(kernel: RunningKernel) -> Samples:
    """Many small prints: the time until all is here, and the number of messages it came in."""
    requests = [kernel.client.execute(f"for i in range({PRINTS}):\n    print(i)")]
    with quiet_collector():
        answer = kernel.client.run(requests, timeout=30)
    expected = "".join(f"{i}\n" for i in range(PRINTS))
    kernel.client.check(answer, requests, lambda published: "".join(streams(published)) == expected)
    messages = sum(b'"stream"' in frame for frames in answer.iopub for frame in frames)
    return {"print": [answer.seconds * 1000], "print_messages": [float(messages)]}


def streams(published: list[dict[str, Any]]) -> list[str]:
    return [m["content"]["text"] for m in published if m["msg_type"] == "stream" and m["content"]["name"] == "stdout"]


def control_sleeping(kernel: RunningKernel) -> Samples:
    """The control channel while a cell sleeps."""
    return {"control_sleeping": probe_control(kernel, SLEEP)}


def control_computing(kernel: RunningKernel) -> Samples:
    """The control channel while a cell computes in Python, which holds the interpreter's lock most of the time."""
    return {"control_computing": probe_control(kernel, COMPUTE)}


def probe_control(kernel: RunningKernel, code: str) -> list[float]:
    """Times of `kernel_info` on control while `code` runs; only probes that came back before the cell's reply count."""
    client = kernel.client
    cell = client.execute(code)
    client.send(cell)
    client.wait_busy(cell)
    times: list[float] = []
    while len(times) < PROBES:
        seconds = client.reply(client.request("kernel_info_request"), "control")
        if client.sockets["shell"].poll(0):
            break
        times.append(seconds * 1000)
        time.sleep(0.003)
    if not client.sockets["shell"].poll(20_000):
        raise WrongAnswerError("the cell has no reply")
    client.check_reply(client.sockets["shell"].recv_multipart(), cell)
    client.discard(0.1)
    if len(times) < PROBES // 4:
        raise WrongAnswerError(f"only {len(times)} answers on control while the cell ran")
    return times


def control_locked(kernel: RunningKernel) -> Samples:
    """C code holds the interpreter's lock, as a long computation of a library may do.

    The heartbeat must answer meanwhile, for Jupyter restarts a kernel whose heart stands still; `kernel_info` on
    control must be answered as soon as the lock is free. What counts is by how much later than that it is here.
    """
    client = kernel.client
    heart = client.connect(zmq.DEALER, "hb")
    try:
        beat(heart)  # It is connected now.
        cell = client.execute(LOCKED)
        client.send(cell)
        client.wait_busy(cell)
        time.sleep(0.3)
        asked, sent = client.request("kernel_info_request"), time.monotonic()
        client.send(asked, "control")
        beats = [beat(heart) for _ in range(PROBES // 4)]
        if not client.sockets["control"].poll(10_000):
            raise WrongAnswerError("no kernel_info reply after C code held the interpreter's lock")
        came = time.monotonic()
        client.check_reply(client.sockets["control"].recv_multipart(), asked)
        locked, freed = map(float, result_of(client, cell).strip("()").split(","))
        client.discard(0.1)
    finally:
        heart.close()
    if not locked < sent < freed - 0.2:
        raise WrongAnswerError("the client was too late to ask while C code held the interpreter's lock")
    if beats[0] > freed - sent:
        raise WrongAnswerError("the heartbeat did not answer while C code held the interpreter's lock")
    return {
        "heartbeat_locked": [seconds * 1000 for seconds in beats],
        "control_locked": [max(0.0, came - freed) * 1000],
    }


def beat(heart: zmq.Socket[bytes]) -> float:
    """Seconds until the heartbeat has echoed."""
    started = time.perf_counter()
    heart.send_multipart([b"", b"ping"])
    if not heart.poll(10_000) or heart.recv_multipart()[-1] != b"ping":
        raise WrongAnswerError("the heartbeat does not echo")
    return time.perf_counter() - started


def result_of(client: Client, cell: Request) -> str:
    """What `cell` has for a result, after its checked reply."""
    if not client.sockets["shell"].poll(10_000):
        raise WrongAnswerError("the cell has no reply")
    client.check_reply(client.sockets["shell"].recv_multipart(), cell)
    while client.sockets["iopub"].poll(1000):
        message = client.parse(client.sockets["iopub"].recv_multipart())
        if message["msg_type"] == "execute_result" and message["parent_header"].get("msg_id") == cell.msg_id:
            return message["content"]["data"]["text/plain"]
    raise WrongAnswerError("the cell has no result")


@contextmanager
def quiet_collector() -> Generator[None]:
    """The client's own garbage is collected before the clock starts, not while it runs."""
    gc.collect(0)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def milliseconds(values: dict[str, float]) -> Samples:
    return {name: [seconds * 1000] for name, seconds in values.items()}
