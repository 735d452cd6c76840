"""Back-pressure: nothing is lost to one who reads, nobody waits for ever for one who does not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import zmq

from async_kernel.transport.connections import Connections
from async_kernel.transport.iopub import IopubChannel
from async_kernel.transport.quota import Quota
from async_kernel.transport.sockets import Endpoints
from async_kernel.typing import SocketID
from tests.kernels import TIMEOUT

if TYPE_CHECKING:
    import pytest

    from async_kernel.protocol.connection_info import ConnectionInfo

TEXT = b"x" * 50_000


def subscribe_without_reading(client: Any) -> None:
    """Subscribe, with as little room on the client's side as there can be."""
    client.socket(SocketID.iopub, {zmq.RCVHWM: 1, zmq.RCVBUF: 4096})
    client.subscribe()
    assert client.recv(SocketID.iopub) == [b"", b"welcome"]


def test_a_slow_reader_slows_the_flood_and_gets_everything(
    opened: Callable[..., Any], connect: Callable[..., Any], kind: str
) -> None:
    """Output would be lost without a word, or fill the kernel's memory."""
    with opened(kind) as rig:
        client = connect(rig.transport.info)
        subscribe_without_reading(client)

        def flood() -> None:
            for n in range(800):
                rig.transport.send(SocketID.iopub, [b"stream", b"%d" % n, TEXT])

        sender = threading.Thread(target=flood)
        sender.start()
        sender.join(0.5)
        assert sender.is_alive(), "40 MB were taken though nobody reads"
        assert [int(client.recv(SocketID.iopub)[1]) for _ in range(800)] == list(range(800))
        sender.join(5)
        assert not sender.is_alive()


def test_nothing_comes_before_the_welcome(new_info: Callable[[str], ConnectionInfo], kind: str) -> None:
    """A subscriber would take what comes before it for all there is (JEP 65); seen while a kernel starts."""
    context = zmq.Context[zmq.Socket[bytes]]()
    endpoints = Endpoints(new_info(kind))
    try:
        endpoints.bind(context)
        sock = endpoints.sockets[SocketID.iopub]
        iopub = IopubChannel(sock, Quota(), welcome=lambda topic: [topic, b"welcome"], on_cut=None, patience=5)
        with context.socket(zmq.SUB) as client:
            client.rcvtimeo = int(TIMEOUT * 1000)
            client.connect(endpoints.info.url(SocketID.iopub))
            client.subscribe(b"")
            assert sock.poll(client.rcvtimeo), "the subscription has not come"
            iopub.send([b"status", b"too early"], None)
            iopub.receive()
            iopub.send([b"status", b"next"], None)
            assert [client.recv_multipart() for _ in range(2)] == [[b"", b"welcome"], [b"status", b"next"]]
            client.unsubscribe(b"")
            assert sock.poll(client.rcvtimeo), "the end of the subscription has not come"
            iopub.receive()
            iopub.send([b"status", b"to nobody"], None)
            client.subscribe(b"error")
            assert sock.poll(client.rcvtimeo)
            iopub.receive()
            iopub.send([b"error", b"last"], None)
            assert [client.recv_multipart() for _ in range(2)] == [[b"error", b"welcome"], [b"error", b"last"]]
        iopub.close()
    finally:
        endpoints.close(0)
        context.term()
        endpoints.remove_files()


def test_others_are_not_held_up_by_a_flood(opened: Callable[..., Any], connect: Callable[..., Any]) -> None:
    """While a cell's flood waits for a slow client, the control thread must publish, and replies must leave."""
    with opened("ipc") as rig:
        slow = connect(rig.transport.info, b"slow")
        subscribe_without_reading(slow)
        flooding = threading.Event()

        def flood() -> None:
            for n in range(1000):
                rig.transport.send(SocketID.iopub, [b"stream", b"%d" % n, TEXT])
                if n == 500:
                    flooding.set()

        sender = threading.Thread(target=flood)
        sender.start()
        # It gets no further than its quota; the control channel is served all the same, from this thread.
        assert not flooding.wait(0.3)
        asking = rig.client(b"asking")
        for n in range(20):
            asking.send(SocketID.control, b"%d" % n)
            _, frames, _ = rig.next()
            rig.transport.send(SocketID.iopub, [b"status", b"busy"])
            rig.transport.send(SocketID.control, frames)
            assert asking.recv(SocketID.control) == [b"%d" % n]
        assert not flooding.is_set()
        got = [slow.recv(SocketID.iopub)[0] for _ in range(1020)]
        assert (got.count(b"stream"), got.count(b"status")) == (1000, 20)
        sender.join(5)


def test_one_who_never_reads_is_cut_and_told(opened: Callable[..., Any], connect: Callable[..., Any]) -> None:
    """One stopped client would stop the output of all, or miss lines and never know."""
    told: list[int] = []

    def on_cut(missed: int) -> list[bytes]:
        told.append(missed)
        return [b"notice", b"%d" % missed]

    with opened("ipc", on_cut=on_cut, patience=0.3) as rig:
        stopped, reading = connect(rig.transport.info, b"stopped"), connect(rig.transport.info, b"reading")
        subscribe_without_reading(stopped)
        reading.subscribe()
        assert reading.recv(SocketID.iopub) == [b"", b"welcome"]
        for n in range(1000):
            rig.transport.send(SocketID.iopub, [b"stream", b"%d" % n, TEXT])
        got = [reading.recv(SocketID.iopub) for _ in range(1001)]
        # The one that reads has every line, and sees where the other was cut.
        assert [int(frames[1]) for frames in got if frames[0] == b"stream"] == list(range(1000))
        assert [frames for frames in got if frames[0] == b"notice"] == [[b"notice", b"0"]]
        assert told == [0]

        # It reads again: what had left by then, and then, connected anew, how many it has missed.
        assert stopped.recv(SocketID.iopub) == [b"", b"welcome"]
        lines: list[int] = []
        while (frames := stopped.recv(SocketID.iopub))[0] == b"stream":
            lines.append(int(frames[1]))
        assert lines == list(range(len(lines)))
        assert frames == [b"", b"welcome"]
        assert stopped.recv(SocketID.iopub) == [b"notice", b"%d" % told[1]]
        assert 0 < told[1] <= 1000
        assert len(lines) + told[1] >= 900
        rig.transport.send(SocketID.iopub, [b"stream", b"next"])
        assert stopped.recv(SocketID.iopub) == [b"stream", b"next"]
        while (frames := reading.recv(SocketID.iopub))[0] != b"stream":
            pass
        assert frames == [b"stream", b"next"]
        assert len(told) == 2


def test_a_system_that_names_no_connection_goes_on_too(
    opened: Callable[..., Any], connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it can't be told who does not read, one stopped client would stop the output of all."""
    monkeypatch.setattr(Connections, "end_stuck", lambda _: 0)
    told: list[int] = []
    with opened("ipc", on_cut=told.append, patience=0.2) as rig:
        stopped, reading = connect(rig.transport.info, b"stopped"), connect(rig.transport.info, b"reading")
        subscribe_without_reading(stopped)
        reading.subscribe()
        assert reading.recv(SocketID.iopub) == [b"", b"welcome"]
        for n in range(600):
            rig.transport.send(SocketID.iopub, [b"stream", b"%d" % n, TEXT])
        assert [int(reading.recv(SocketID.iopub)[1]) for _ in range(600)] == list(range(600))
        assert told == [0]
        # Its queue has room again after half of it is read.
        assert stopped.recv(SocketID.iopub) == [b"", b"welcome"]
        while stopped.socket(SocketID.iopub).poll(300):
            stopped.recv(SocketID.iopub)
        rig.transport.send(SocketID.iopub, [b"stream", b"next"])
        assert stopped.recv(SocketID.iopub) == [b"stream", b"next"]


def test_a_stopped_one_that_leaves_is_no_cut(opened: Callable[..., Any], connect: Callable[..., Any]) -> None:
    """A closed browser tab would be reported as lost output."""
    told: list[int] = []
    with opened("ipc", on_cut=told.append) as rig:
        stopped = connect(rig.transport.info, b"stopped")
        subscribe_without_reading(stopped)
        sender = threading.Thread(
            target=lambda: [rig.transport.send(SocketID.iopub, [b"stream", b"%d" % n, TEXT]) for n in range(1000)]
        )
        sender.start()
        sender.join(0.2)
        assert sender.is_alive()
        stopped.close()
        sender.join(5)
        assert not sender.is_alive()
        later = rig.client(b"later")
        later.subscribe()
        while later.recv(SocketID.iopub) != [b"", b"welcome"]:
            pass
    assert told == []


def test_big_frames_that_wait_are_bounded_too(opened: Callable[..., Any], connect: Callable[..., Any]) -> None:
    """A hundred pictures for a slow client would take gigabytes."""
    big = bytes(20 << 20)
    with opened("ipc") as rig:
        client = connect(rig.transport.info)
        subscribe_without_reading(client)

        def flood() -> None:
            for n in range(40):
                rig.transport.send(SocketID.iopub, [b"display", b"%d" % n, big])

        sender = threading.Thread(target=flood)
        sender.start()
        sender.join(0.5)
        assert sender.is_alive(), "800 MB were taken though nobody reads"
        assert [int(client.recv(SocketID.iopub)[1]) for _ in range(40)] == list(range(40))
        sender.join(5)
        assert not sender.is_alive()


def test_without_subscribers_nothing_waits(opened: Callable[..., Any]) -> None:
    """A kernel that nobody watches would fill its memory, or stop."""
    with opened("tcp") as rig:
        for n in range(20_000):
            rig.transport.send(SocketID.iopub, [b"stream", b"%d" % n, TEXT])
        client = rig.client()
        client.subscribe()
        # Not more than the quota is still on its way.
        before = 0
        while client.recv(SocketID.iopub) != [b"", b"welcome"]:
            before += 1
        assert before < 1000


def test_a_thread_waits_only_for_its_own_flood() -> None:
    """The control thread would wait behind a cell's output, and the cell could not be interrupted."""
    quota = Quota(limit=1000, overhead=0)
    first = quota.take([bytes(900)], 0)
    second = quota.take([bytes(900)], 0)
    waited = threading.Event()

    def wait() -> None:
        quota.take([bytes(900)], 0)  # another thread: at once
        waited.set()

    other = threading.Thread(target=wait)
    other.start()
    assert waited.wait(5)
    other.join()

    giving = threading.Timer(0.05, lambda: (quota.give(first), quota.give(second)))
    giving.start()
    quota.take([bytes(1)], 30)
    giving.join()


def test_lifting_the_quota_lets_everybody_go() -> None:
    """A kernel that is shut down would wait for the cell that floods."""
    quota = Quota(limit=10)
    quota.take([bytes(100)], 0)
    lifting = threading.Timer(0.05, quota.lift)
    lifting.start()
    quota.take([bytes(100)], 30)
    lifting.join()
