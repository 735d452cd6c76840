"""Much output, many cells, and doing nothing."""

from __future__ import annotations

import time
from collections import Counter

from benchmarks.client import WrongAnswerError
from benchmarks.kernels import RunningKernel
from benchmarks.measures import Samples, quiet_collector, results, streams

LINES, CELLS, IDLE = 20_000, 1000, 1.0
PRINT_BIG = f"print(('x' * 999 + '\\n') * {LINES}, end='')"
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
    requests = [kernel.client.execute(PRINT_BIG)]
    with quiet_collector():
        answer = kernel.client.run(requests, timeout=30)
    expected = ("x" * 999 + "\n") * LINES
    kernel.client.check(answer, requests, lambda published: "".join(streams(published)) == expected)
    return {"print_big": [answer.seconds * 1000]}


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


def idle_cpu(kernel: RunningKernel) -> Samples:
    """The share of a core that a kernel takes which has nothing to do."""
    time.sleep(0.2)
    before = kernel.scheduled_seconds()
    time.sleep(IDLE)
    return {"idle_cpu": [(kernel.scheduled_seconds() - before) / IDLE * 100]}
