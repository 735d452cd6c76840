"""A long life in a short time: one kernel, very many requests, and what it holds at 50 points on the way.

    python -m tests.stress.endurance --profile trio --scale 0.01

Each request is checked (one reply of the right status, one idle); what this suite is about is what stays behind.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import zmq

from tests.stress.drive import PATIENCE, Target, Usage, running
from tests.stress.link import BrokenError, Link, Received

FULL: Final = {"executes": 100_000, "comms": 10_000, "subshells": 1_000, "interrupts": 10_000}
POINTS: Final = 50
QUARTER: Final = 12
STORED: Final = 2_000
"Cells with `store_history`, whose cost is measured apart: what `In` and `Out` keep is the user's."
IDLE: Final = 0.001
"The share of one processor that an idle kernel may use."
WINDOW: Final = 32
"Requests that are under way at once."
SETUP: Final = """
import ctypes, gc, anyio, comm
trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)
def endurance_target(comm, msg):
    comm.on_msg(lambda msg: comm.send(msg["content"]["data"]))
comm.get_comm_manager().register_target("endurance", endurance_target)
get_ipython().kernel.session.wire.digest_history = 1000
"""
"""The last line: otherwise the kernel keeps the signatures of 131,072 requests, 15 MiB, to detect replays, and lets go
of half of them at a time: what else grows would be hard to see beside that.
"""
CELLS: Final = (
    "pass",
    "print(1)",
    "[*range(100)]",
    "await anyio.sleep(0)",
    "1 / 0",
    "# task\nawait anyio.sleep(0)",
    "# thread\nprint(1)",
    "from IPython.display import display; display({'a': 1})",
)
FOR_EVER: Final = (
    "print(1)\nawait anyio.sleep(1000)",
    "print(1)\nwhile True: pass",
    "# task\nprint(1)\nawait anyio.sleep(1000)",
)


class Request(NamedTuple):
    """One request, and what its reply must say; None: there is no reply."""

    msg_type: str
    content: dict[str, Any]
    channel: str = "shell"
    status: str | None = "ok"
    subshell: str | None = None


def cell(code: str, subshell: str | None = None, *, store: bool = False) -> Request:
    """A cell; it is not stopped by the errors of others."""
    content = {"code": code, "store_history": store, "stop_on_error": False, "allow_stdin": False}
    failing = "1 / 0" in code or code in FOR_EVER
    return Request("execute_request", content, status="error" if failing else "ok", subshell=subshell)


class Client:
    """Sends requests and waits for all that must come of them."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._open: dict[str, tuple[Request, set[str]]] = {}
        "The requests under way, and what has not come of each: a reply, idle."
        self._latest: Received | None = None
        self._poller = zmq.Poller()
        for name in ("shell", "control", "iopub"):
            self._poller.register(link.sockets[name], zmq.POLLIN)

    def send(self, request: Request) -> str:
        """Send a request; its id."""
        msg_id = os.urandom(12).hex()
        self._open[msg_id] = request, {"idle"} if request.status is None else {"idle", "reply"}
        header = self.link.header(msg_id, request.msg_type, request.subshell)
        self.link.send(request.channel, self.link.frames(header, request.content))
        return msg_id

    def all(self, requests: Iterable[Request], window: int = WINDOW) -> None:
        """Send requests, so many at once, and wait for all of them."""
        for each in requests:
            self.hear(lambda: len(self._open) < window)
            self.send(each)
        self.hear(lambda: not self._open)

    def one(self, request: Request) -> Any:
        """The content of the reply to one request."""
        msg_id = self.send(request)
        self.hear(lambda: not self._open)
        if self._latest is None or self._latest.parent["msg_id"] != msg_id:
            raise BrokenError(f"another reply came than the one to {request}")
        return self._latest.content

    def interrupt(self, code: str) -> None:
        """Begin a cell that never ends, and interrupt it when it has printed something."""
        msg_id, began = self.send(cell(code)), False

        def has_begun(message: Received) -> None:
            nonlocal began
            began = began or (message.msg_type == "stream" and message.parent["msg_id"] == msg_id)

        self.hear(lambda: began, has_begun)
        self.send(Request("interrupt_request", {}, "control"))
        self.hear(lambda: not self._open)

    def hear(self, enough: Callable[[], bool], also: Callable[[Received], None] = lambda _: None) -> None:
        """Wait until it is enough.

        Raises:
            BrokenError: Nothing comes, or something that should not.
        """
        while not enough():
            if not (ready := self._poller.poll(int(PATIENCE * 1000))):
                raise BrokenError(f"nothing came for {PATIENCE:g} s; open: {self._open}")
            for channel in ("shell", "control", "iopub"):
                if any(sock is self.link.sockets[channel] for sock, _ in ready):
                    for frames in self.link.read(channel):
                        message = self.link.decode(frames)
                        also(message)
                        self._take(channel, message)

    def _take(self, channel: str, message: Received) -> None:
        msg_id = message.parent.get("msg_id", "")
        if channel != "iopub":
            self._latest, what = message, "reply"
        elif message.content == {"execution_state": "idle"} and not message.foreign:
            what = "idle"
        else:
            return
        request, missing = self._open.get(msg_id, (None, set[str]()))
        if request is None or what not in missing:
            raise BrokenError(f"{message} answers nothing that was asked")
        if what == "reply" and message.content["status"] != request.status:
            raise BrokenError(f"{request} was answered: {message.content!r:.2000}")
        missing.remove(what)
        if not missing:
            del self._open[msg_id]


class Point(NamedTuple):
    """What a kernel holds: MiB, threads, descriptors, objects that the collector knows."""

    resident: float
    threads: int
    descriptors: int
    objects: int

    def __str__(self) -> str:
        return f"{self.resident:8.2f} {self.threads:8} {self.descriptors:12} {self.objects:8}"


class Life:
    """What is done with one kernel.

    Args:
        client: Sends it.
        pid: The kernel's process.
        scale: The share of `FULL`.
    """

    def __init__(self, client: Client, pid: int, scale: float) -> None:
        self.client, self.pid = client, pid
        self.counts = {name: max(POINTS, round(count * scale)) // POINTS for name, count in FULL.items()}
        self._cells, self._for_ever = itertools.cycle(CELLS), itertools.cycle(FOR_EVER)
        client.one(cell(SETUP))
        client.all(cell("# thread\nimport time; time.sleep(0.05)") for _ in range(WINDOW))  # as many workers as ever

    def part(self) -> Point:
        """One part of `POINTS`; what the kernel holds then."""
        client, counts = self.client, self.counts
        client.all(cell(next(self._cells)) for _ in range(counts["executes"]))
        client.all(comm for _ in range(counts["comms"]) for comm in self._comm())
        for _ in range(counts["subshells"]):
            subshell = client.one(Request("create_subshell_request", {}, "control"))["subshell_id"]
            client.one(cell("print(1); await anyio.sleep(0)", subshell))
            client.one(Request("delete_subshell_request", {"subshell_id": subshell}, "control"))
        for _ in range(counts["interrupts"]):
            client.interrupt(next(self._for_ever))
        return self.point()

    def point(self) -> Point:
        """What the kernel holds, without what the collector will take anyhow, and what malloc keeps for later."""
        request = cell("_ = gc.collect(), trim(0)")
        request.content["user_expressions"] = {"objects": "len(gc.get_objects())"}
        objects = self.client.one(request)["user_expressions"]["objects"]["data"]["text/plain"]
        return Point(*Usage.of(self.pid), int(objects))

    @staticmethod
    def _comm() -> Iterator[Request]:
        comm_id = os.urandom(8).hex()
        yield Request("comm_open", {"comm_id": comm_id, "target_name": "endurance", "data": {}}, status=None)
        for n in range(3):
            yield Request("comm_msg", {"comm_id": comm_id, "data": {"n": n}}, status=None)
        yield Request("comm_close", {"comm_id": comm_id, "data": {}}, status=None)


def stored(client: Client, pid: int) -> float:
    """KiB that a stored cell costs, which prints nothing and has a small value."""
    before = Usage.of(pid).resident
    client.all(cell(f"value = {n}\nvalue", store=True) for n in range(STORED))
    client.one(cell("_ = gc.collect(), trim(0)"))
    return (Usage.of(pid).resident - before) * 1024 / STORED


def idle_share(pid: int, seconds: float) -> float:
    """The share of one processor that a process uses while nobody asks anything of it (Linux)."""
    clock = ~pid << 3 | 2  # the processor time of another process: CPUCLOCK_SCHED, as clock_getcpuclockid(3) makes it
    time.sleep(1)  # What was begun comes to its end: idle workers, the history.
    before = time.clock_gettime(clock)
    time.sleep(seconds)
    return (time.clock_gettime(clock) - before) / seconds


class Bounds(NamedTuple):
    """How much more there may be in the last quarter of a curve than in the first."""

    resident: float
    "MiB."
    threads: int
    descriptors: int
    objects: int
    "Those that the collector knows; how many belong to idle workers is chance."


BOUNDS: Final = Bounds(1.0, 0, 0, 100)
"Of a whole life: 8 bytes a request."
SHORT_BOUNDS: Final = Bounds(3.0, 2, 10, 2_000)
"At a smaller scale caches fill, and what is there in one moment is chance."


class Verdict(NamedTuple):
    """How the last quarter of a curve differs from the first."""

    resident: float
    threads: int
    descriptors: int
    objects: int

    @classmethod
    def of(cls, curve: list[Point]) -> Verdict:
        early, late = curve[:QUARTER], curve[-QUARTER:]

        def middle(points: list[Point], what: str) -> float:
            return statistics.median(getattr(each, what) for each in points)

        # How many workers there are in one moment is chance: what stays is in the median.
        return cls(
            middle(late, "resident") - middle(early, "resident"),
            round(middle(late, "threads")) - max(each.threads for each in early),
            round(middle(late, "descriptors")) - max(each.descriptors for each in early),
            round(middle(late, "objects") - middle(early, "objects")),
        )

    def flat(self, bounds: Bounds) -> bool:
        """Whether nothing has grown by more than `bounds`."""
        return all(grown <= bound for grown, bound in zip(self, bounds, strict=True))

    def __str__(self) -> str:
        return (
            f"{self.resident:+.2f} MiB, {self.threads:+d} threads, {self.descriptors:+d} descriptors, "
            f"{self.objects:+d} objects from the first quarter to the last"
        )


def live(profile: str, scale: float, idle: float, folder: Path, say: Callable[[str], object]) -> bool:
    """One life; whether it was flat to its end.

    Args:
        profile: The kernel's profile.
        scale: The share of `FULL`.
        idle: For so many seconds the idle kernel is watched; 0: it is not.
        folder: For its files.
        say: Gets what there is to say, line by line.

    Raises:
        BrokenError: The kernel did not answer as it must.
    """
    with running(folder, 1, "--profile", profile) as target:
        client = Client(target.links[0])
        try:
            return _live(target, client, scale, idle, say)
        except BrokenError as error:
            raise BrokenError(f"{error}\n\n{target.autopsy()}") from error


def _live(target: Target, client: Client, scale: float, idle: float, say: Callable[[str], object]) -> bool:
    life, began = Life(client, target.pid, scale), time.perf_counter()
    say(f"{profile_line(life)}; at first {Usage.of(target.pid)}")
    curve = list[Point]()
    say(f"{'part':>5} {'seconds':>8} {'MiB':>8} {'threads':>8} {'descriptors':>12} {'objects':>8}")
    for number in range(1, POINTS + 1):
        curve.append(point := life.part())
        if number == 1 or number % 5 == 0:
            say(f"{number:5} {time.perf_counter() - began:8.1f} {point}")
    verdict, share = Verdict.of(curve), idle_share(target.pid, idle) if idle else 0.0
    flat = verdict.flat(BOUNDS if scale >= 1 else SHORT_BOUNDS)
    say(f"{'flat' if flat else 'NOT FLAT'}: {verdict}")
    if idle:
        say(f"idle: {share:.3%} of a processor over {idle:g} s ({IDLE:.1%} are allowed)")
    say(f"a stored cell costs {stored(client, target.pid):.2f} KiB (`In`, `Out` and `_i...`: the user's)")
    return flat and share <= IDLE


def profile_line(life: Life) -> str:
    """What is asked of it in all."""
    return ", ".join(f"{count * POINTS} {name}" for name, count in life.counts.items())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.endurance", description=__doc__)
    parser.add_argument("--profile", action="append", help="a profile; may be repeated (default, trio)")
    parser.add_argument("--scale", type=float, default=1.0, help="the share of the full counts (1)")
    parser.add_argument("--idle", type=float, default=10.0, help="seconds for which the idle kernel is watched (10)")
    given = parser.parse_args()
    good = True
    for profile in given.profile or ("default", "trio"):
        print(f"profile {profile}", flush=True)
        with tempfile.TemporaryDirectory(prefix="endurance-") as folder:
            good &= live(profile, given.scale, given.idle, Path(folder), lambda line: print(f"  {line}", flush=True))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
