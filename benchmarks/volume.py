"""Much output, many cells, and doing nothing."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import Any

import zmq

from benchmarks.client import Client, Request, WrongAnswerError, is_idle
from benchmarks.kernels import RunningKernel
from benchmarks.measures import Samples, quiet_collector, results, round_trip, run_silently, streams

LINES, CELLS, IDLE = 20_000, 1000, 1.0
PADDING, NOT_READING, SLOW = "x" * 5000, 1.0, 2.0
BIG = 50_000_000
NAMES, TRIPS, LONG = 50_000, 20, 10_000
THREADS, THREAD_LINES = 4, 5000
PRINT_THREADS = f"""
import threading
def lines(name):
    for number in range({THREAD_LINES}):
        print(name, number)
threads = [threading.Thread(target=lines, args=(name,)) for name in "abcdefgh"[:{THREADS}]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def print_big(kernel: RunningKernel) -> Samples:
    """Twenty megabytes of text in one print."""
    code = f"print(('x' * 999 + '\\n') * {LINES}, end='')"
    requests = [kernel.client.execute(code)]
    with quiet_collector():
        answer = kernel.client.run(requests, timeout=30)
    expected = ("x" * 999 + "\n") * LINES
    kernel.client.check(answer, requests, lambda published: "".join(streams(published)) == expected)
    return {"print_big": [answer.seconds * 1000]}


def print_slow(kernel: RunningKernel) -> Samples:
    """Lines to a second subscriber, which reads slowly: how many are lost, how much memory it took."""
    client = kernel.client
    slow = client.connect(zmq.SUB, "iopub", RCVHWM=1, RCVBUF=1 << 16, SUBSCRIBE=b"")
    try:
        hear(client, slow)
        kernel.forget_peak()
        before = kernel.peak_mib()
        code = f"for number in range({LINES}):\n    print(number, {PADDING!r})"
        request = client.execute(code)
        came = read_slowly(client, slow, request)
        if not client.sockets["shell"].poll(10_000):
            raise WrongAnswerError("the cell that prints has no reply")
        client.check_reply(client.sockets["shell"].recv_multipart(), request)
    finally:
        slow.close()
    client.discard(0.2)
    own = [m for m in map(client.parse, came) if m["parent_header"].get("msg_id") == request.msg_id]
    expected = {f"{number} {PADDING}" for number in range(LINES)}
    lost = expected.difference("".join(streams(own)).split("\n"))
    return {"slow_lost": [float(len(lost))], "slow_grown": [max(0.0, kernel.peak_mib() - before)]}


def hear(client: Client, subscriber: zmq.Socket[bytes]) -> None:
    """Run cells until `subscriber` hears of them, and read what it has heard."""
    for _ in range(20):
        client.run([client.execute("pass")])
        if subscriber.poll(100):
            while subscriber.poll(100):
                subscriber.recv_multipart()
            return
    raise WrongAnswerError("a second subscriber hears nothing")


def read_slowly(client: Client, subscriber: zmq.Socket[bytes], request: Request) -> list[list[bytes]]:
    """One message each millisecond for some seconds, then as they come, until `request` is idle.

    Where that may be lost, small cells follow: what comes for one of them comes after all that was not lost.
    """
    client.send(request)
    time.sleep(NOT_READING)
    came: list[list[bytes]] = []
    hurry = time.monotonic() + SLOW
    while not came or not is_idle(came[-1], b""):
        if subscriber.poll(1000):
            came.append(subscriber.recv_multipart())
        elif client.sockets["shell"].poll(0):
            client.send(client.execute("pass"))
        if time.monotonic() < hurry:
            time.sleep(0.001)
    return came


def display_big(kernel: RunningKernel) -> Samples:
    """Fifty megabytes in one display."""
    code = f"display({{'text/plain': 'x' * {BIG}}}, raw=True)"
    requests = [kernel.client.execute(code)]
    with quiet_collector():
        answer = kernel.client.run(requests, timeout=25)
    kernel.client.check(answer, requests, lambda published: displays(published) == ["x" * BIG])
    return {"display_big": [answer.seconds * 1000]}


def displays(published: list[dict[str, Any]]) -> list[str]:
    return [m["content"]["data"]["text/plain"] for m in published if m["msg_type"] == "display_data"]


def print_threads(kernel: RunningKernel) -> Samples:
    """Threads that print at once; the time until all is here, and how many lines are not as they were printed."""
    client = kernel.client
    request = client.execute(PRINT_THREADS)
    with quiet_collector():
        answer = client.run([request], timeout=30)
    client.check_reply(answer.shell[0], request)
    # What comes after the idle, or without a parent, is wrong too, but it is output.
    while client.sockets["iopub"].poll(100):
        answer.iopub.append(client.sockets["iopub"].recv_multipart())
    text = {True: "", False: ""}
    for message in map(client.parse, answer.iopub):
        if message["msg_type"] == "stream":
            text[message["parent_header"].get("msg_id") == request.msg_id] += message["content"]["text"]
    expected = Counter(f"{name} {number}" for name in "abcdefgh"[:THREADS] for number in range(THREAD_LINES))
    if not text[True] and not text[False]:
        raise WrongAnswerError("nothing was printed")
    wrong = expected - Counter(text[True].split("\n"))
    return {"print_threads": [answer.seconds * 1000], "print_threads_wrong": [float(wrong.total())]}


def growth(kernel: RunningKernel) -> Samples:
    """How much a thousand cells, each with a value, add to the resident memory."""
    before = kernel.resident_mib()
    for _ in range(CELLS // 100):
        requests = [kernel.client.execute("1 + 1") for _ in range(100)]
        answer = kernel.client.run(requests, timeout=30)
        kernel.client.check(answer, requests, lambda published: results(published) == ["2"] * 100)
    return {"growth": [max(kernel.resident_mib() - before, 0.0)]}


def names(kernel: RunningKernel) -> Samples:
    """How much longer a small cell takes with 50,000 names in the namespace: 1 is flat."""
    before = [round_trip(kernel, "pass", lambda published: not results(published)) for _ in range(TRIPS)]
    run_silently(kernel, f"globals().update((f'name_{{number}}', number) for number in range({NAMES}))")
    after = [round_trip(kernel, "pass", lambda published: not results(published)) for _ in range(TRIPS)]
    run_silently(kernel, f"for _each in range({NAMES}): del globals()[f'name_{{_each}}']")
    return {"names": [statistics.median(after) / statistics.median(before)]}


def long_cell(kernel: RunningKernel) -> Samples:
    """A cell of ten thousand lines, another one each time."""
    first = time.monotonic_ns() % 10**6
    code = "".join(f"x = {first + number}\n" for number in range(LONG)) + "x"
    return {"long_cell": [round_trip(kernel, code, lambda published: results(published) == [str(first + LONG - 1)])]}


def idle_cpu(kernel: RunningKernel) -> Samples:
    """The share of a core that a kernel takes which has nothing to do."""
    time.sleep(0.2)
    before = kernel.scheduled_seconds()
    time.sleep(IDLE)
    return {"idle_cpu": [(kernel.scheduled_seconds() - before) / IDLE * 100]}
