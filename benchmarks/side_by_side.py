"""What a kernel does while something else runs, and what needs more of a kernel than to run cells."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import zmq

from benchmarks.client import Answer, Client, Request, UnsupportedError, WrongAnswerError
from benchmarks.kernels import RunningKernel
from benchmarks.measures import ROUND_TRIPS, SLEEP, Samples, quiet_collector, results, run_silently

TASKS, NAP, CLIENTS, TRIPS, SHELLS, SHELL_SLEEP, COMM_BURST = 200, 0.05, 50, 20, 5, 0.5, 2000
BIG = 50_000_000
INTERRUPTS, COMPLETIONS, BIG_TRIPS = 3, 5, 2


def tasks(kernel: RunningKernel) -> Samples:
    """Cells that await, all at once: how often they take as long as one."""
    kernel.needs("tasks")
    run_silently(kernel, "import anyio")
    requests = [kernel.client.execute(f"# task\nawait anyio.sleep({NAP})") for _ in range(TASKS)]
    with quiet_collector():
        answer = kernel.client.gather(requests)
    kernel.client.check_each(answer, requests)
    return {"tasks": [answer.seconds / NAP]}


def clients(kernel: RunningKernel) -> Samples:
    """Many clients, each with one cell after another; the rate of replies. One subscriber counts busy and idle."""
    client = kernel.client
    poller = zmq.Poller()
    sockets = [client.connect(zmq.DEALER, "shell") for _ in range(CLIENTS)]
    queues = {each: [client.execute("pass") for _ in range(TRIPS)] for each in sockets}
    requests = [request for queue in queues.values() for request in queue]
    answer = Answer()
    try:
        with quiet_collector():
            started = time.perf_counter()
            for each in sockets:
                poller.register(each, zmq.POLLIN)
                each.send_multipart(queues[each].pop().frames)
            while len(answer.shell) < len(requests):
                ready = poller.poll(10_000)
                if not ready:
                    raise WrongAnswerError(f"{len(answer.shell)} of {len(requests)} replies")
                for each, _ in ready:
                    answer.shell.append(each.recv_multipart())
                    if queues[each]:
                        each.send_multipart(queues[each].pop().frames)
            answer.seconds = time.perf_counter() - started
    finally:
        for each in sockets:
            each.close()
    while client.sockets["iopub"].poll(300):
        answer.iopub.append(client.sockets["iopub"].recv_multipart())
    client.check_each(answer, requests)
    return {"clients": [len(requests) / answer.seconds]}


def complete_sleeping(kernel: RunningKernel) -> Samples:
    """Completion while a cell sleeps; a kernel may well answer when the cell has ended: that is its time."""
    kernel.needs("lookup")
    client = kernel.client
    client.ask(client.request("complete_request", code="prin", cursor_pos=4), "shell")
    client.discard(0.1)
    cell = client.execute(SLEEP)
    client.send(cell)
    client.wait_busy(cell)
    times: list[float] = []
    done = False
    while not done and len(times) < COMPLETIONS:
        asked = client.request("complete_request", code="prin", cursor_pos=4)
        started = time.perf_counter()
        client.send(asked)
        while True:
            if not client.sockets["shell"].poll(10_000):
                raise WrongAnswerError("the cell and the completion need a reply each")
            frames = client.sockets["shell"].recv_multipart()
            seconds = time.perf_counter() - started
            message = client.parse(frames)
            if message["msg_type"] == "complete_reply":
                break
            client.content_of(message, cell)
            done = True
        matches = client.content_of(message, asked)["matches"]
        if "print" not in matches:
            raise WrongAnswerError(f"`prin` is not completed: {matches}")
        times.append(seconds * 1000)
    if not done:
        if not client.sockets["shell"].poll(10_000):
            raise WrongAnswerError("the cell has no reply")
        client.check_reply(client.sockets["shell"].recv_multipart(), cell)
    client.discard(0.1)
    return {"complete_sleeping": times}


def shells(kernel: RunningKernel) -> Samples:
    """Subshells made, all asleep at once with the main shell, and deleted."""
    client = kernel.client
    info = client.ask(client.request("kernel_info_request"), "control")
    client.discard(0.1)
    if "kernel subshells" not in info.get("supported_features", ()):
        raise UnsupportedError("subshells")
    create: list[float] = []
    ids: list[str] = []
    for _ in range(SHELLS - 1):
        started = time.perf_counter()
        ids.append(client.ask(client.request("create_subshell_request"), "control")["subshell_id"])
        create.append((time.perf_counter() - started) * 1000)
    # Each has run something before: the first cell of a thread is not what is measured.
    warm = [client.request("execute_request", each, **CELL, code="import time") for each in (None, *ids)]
    client.discard(0.1)
    client.check_each(client.gather(warm), warm)
    requests = [
        client.request("execute_request", each, **CELL, code=f"time.sleep({SHELL_SLEEP})") for each in (None, *ids)
    ]
    answer = client.gather(requests)
    client.check_each(answer, requests)
    requests = [client.request("delete_subshell_request", subshell_id=each) for each in ids]
    delete = [client.reply(request, "control") * 1000 for request in requests]
    client.discard(0.1)
    return {"shells": [answer.seconds / SHELL_SLEEP], "subshell_create": create, "subshell_delete": delete}


CELL: dict[str, Any] = {
    "silent": False,
    "store_history": True,
    "user_expressions": {},
    "allow_stdin": False,
    "stop_on_error": True,
}


def interrupted(kernel: RunningKernel, code: str) -> list[float]:
    """Times from an interrupt request to the idle of the cell that it ends with an error; the next cell must work."""
    kernel.needs("interrupts")
    return [interrupt_once(kernel.client, code) * 1000 for _ in range(INTERRUPTS)]


def interrupt_once(client: Client, code: str) -> float:
    cell = client.execute(f"import asyncio, time\nprint('begun', flush=True)\n{code}")
    client.send(cell)
    wait_for(client, cell, "stream")
    time.sleep(0.02)  # From the print to what blocks.
    request = client.request("interrupt_request")
    started = time.perf_counter()
    client.send(request, "control")
    wait_for(client, cell, "idle", 3)
    seconds = time.perf_counter() - started
    if not client.sockets["shell"].poll(1000):
        raise WrongAnswerError("the interrupted cell has no reply")
    reply = client.parse(client.sockets["shell"].recv_multipart())
    if reply["parent_header"].get("msg_id") != cell.msg_id or reply["content"]["status"] != "error":
        raise WrongAnswerError(f"the interrupted cell: {reply['content']}")
    if not client.sockets["control"].poll(1000):
        raise WrongAnswerError("the interrupt request has no reply")
    client.check_reply(client.sockets["control"].recv_multipart(), request)
    client.discard(0.05)
    after = [client.execute("6 * 7")]
    client.check(client.run(after, 5), after, lambda published: results(published) == ["42"])
    return seconds


def wait_for(client: Client, request: Request, what: str, timeout: float = 10) -> None:
    """Wait until `request` is idle, or has published a message of the type `what`."""
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0 and client.sockets["iopub"].poll(int(left * 1000)):
        message = client.parse(client.sockets["iopub"].recv_multipart())
        if message["parent_header"].get("msg_id") == request.msg_id and what in (
            message["msg_type"],
            message["content"].get("execution_state"),
        ):
            return
    raise WrongAnswerError(f"no {what} in {timeout} s")


def interrupt_loop(kernel: RunningKernel) -> Samples:
    """The stop button while a cell computes in Python."""
    return {"interrupt_loop": interrupted(kernel, "while True: pass")}


def interrupt_sleep(kernel: RunningKernel) -> Samples:
    """The stop button while a cell blocks in a call of C."""
    return {"interrupt_sleep": interrupted(kernel, "time.sleep(60)")}


def interrupt_await(kernel: RunningKernel) -> Samples:
    """The stop button while a cell awaits."""
    kernel.needs("await")
    run_silently(kernel, AWAIT)
    return {"interrupt_await": interrupted(kernel, "await sleep(60)")}


AWAIT = """
try:
    from anyio import sleep
except ImportError:  # a kernel without it is one of asyncio
    from asyncio import sleep
"""


ECHO = """
import comm
def opened(channel, _):
    channel.on_msg(lambda message: channel.send(message["content"]["data"], buffers=message["buffers"]))
comm.get_comm_manager().register_target("echo", opened)
"""


def comms(kernel: RunningKernel) -> Samples:
    """Messages to a comm that sends them back, one after another."""
    with echo_comm(kernel) as comm_id:
        return {"comm": [echo(kernel.client, comm_id, [number]) * 1000 for number in range(ROUND_TRIPS)]}


def comm_burst(kernel: RunningKernel) -> Samples:
    """Many messages at once to a comm that sends them back."""
    with echo_comm(kernel) as comm_id:
        return {"comm_burst": [echo(kernel.client, comm_id, [*range(COMM_BURST)]) * 1000]}


def comm_big(kernel: RunningKernel) -> Samples:
    """A buffer of 50 MB to a comm that sends it back."""
    client = kernel.client
    data = os.urandom(BIG)
    times: list[float] = []
    with echo_comm(kernel) as comm_id:
        for _ in range(BIG_TRIPS):
            request = client.request("comm_msg", comm_id=comm_id, data={"n": 0})
            request.frames.append(data)
            answer, _ = gathered(client, [request])
            times.append(answer.seconds * 1000)
            came = [m for m in client.check_each(answer, [request]) if m["msg_type"] == "comm_msg"]
            if [bytes(buffer) for each in came for buffer in each["buffers"]] != [data]:
                raise WrongAnswerError(f"{len(came)} messages came back, or not with the buffer that was sent")
    return {"comm_big": times}


@contextmanager
def echo_comm(kernel: RunningKernel) -> Generator[str]:
    """A comm that sends back what it gets; its id. It is closed at the end, unless something is wrong."""
    kernel.needs("comms")
    client = kernel.client
    run_silently(kernel, ECHO)
    comm_id = client.session.msg_id
    about: dict[str, Any] = {"comm_id": comm_id, "target_name": "echo", "data": {}}
    client.check_each(*gathered(client, [client.request("comm_open", **about)]))
    yield comm_id
    client.check_each(*gathered(client, [client.request("comm_close", comm_id=comm_id, data={})]))


def gathered(client: Client, requests: list[Request]) -> tuple[Answer, list[Request]]:
    with quiet_collector():
        return client.gather(requests, replies=False), requests


def echo(client: Client, comm_id: str, numbers: list[int]) -> float:
    """Send numbers; the seconds until they have come back, each once, in order and in the name of its message."""
    requests = [client.request("comm_msg", comm_id=comm_id, data={"n": number}) for number in numbers]
    answer, _ = gathered(client, requests)
    came = [m for m in client.check_each(answer, requests) if m["msg_type"] == "comm_msg"]
    found = [(m["parent_header"].get("msg_id"), m["content"]["data"].get("n")) for m in came]
    if len(found) != len(numbers):
        raise WrongAnswerError(f"{len(numbers)} numbers sent, {len(found)} came back")
    if [number for _, number in found] != numbers:
        raise WrongAnswerError("the numbers did not come back in order")
    if [parent for parent, _ in found] != [request.msg_id for request in requests]:
        raise WrongAnswerError("what came back has no parent, or not its own")
    return answer.seconds


def lookups(kernel: RunningKernel) -> Samples:
    """Completion and inspection, one after another."""
    kernel.needs("lookup")
    client = kernel.client
    run_silently(kernel, "import os")
    complete = partial(client.request, "complete_request", code="os.pat", cursor_pos=6)
    inspect = partial(client.request, "inspect_request", code="os.getcwd", cursor_pos=9, detail_level=0)
    found: Samples = {"completion": [], "inspection": []}
    for _ in range(ROUND_TRIPS // 4):
        for name, make in (("completion", complete), ("inspection", inspect)):
            requests = [make()]
            with quiet_collector():
                answer = client.run(requests)
            content = client.check_reply(answer.shell.pop(), requests[0])
            client.check_each(answer, requests)
            if not (content.get("found") or "path" in str(content.get("matches"))):
                raise WrongAnswerError(f"{name}: {content!s:.200}")
            found[name].append(answer.seconds * 1000)
    return found
