"""What every transport does for the kernel: the same over tcp, over ipc and in memory."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from async_kernel.typing import SocketID

ROUTERS = [SocketID.shell, SocketID.control, SocketID.stdin]


@pytest.mark.parametrize("socket_id", ROUTERS)
def test_reply_reaches_the_client_that_asked(rig: Any, socket_id: SocketID) -> None:
    """Else a notebook would show another one's results."""
    one, two = rig.client(b"one"), rig.client(b"two")
    for client in (one, two):
        client.send(socket_id, b"<IDS|MSG>", b"question of " + client.identity)
        where, frames, _ = rig.next()
        assert where is socket_id
        assert frames == [client.identity, b"<IDS|MSG>", b"question of " + client.identity]
        assert all(type(frame) is bytes for frame in frames)
    for client in (two, one):
        rig.transport.send(socket_id, [client.identity, b"<IDS|MSG>", b"answer to " + client.identity])
    for client in (one, two):
        assert client.recv(socket_id) == [b"<IDS|MSG>", b"answer to " + client.identity]


def test_requests_arrive_in_order_and_none_is_lost(rig: Any) -> None:
    """Cells sent at once would run in the wrong order, or never."""
    client = rig.client()
    for n in range(1000):
        client.send(SocketID.shell, b"%d" % n)
    arrived = [rig.next() for _ in range(1000)]
    assert [int(frames[1]) for _, frames, _ in arrived] == list(range(1000))
    times = [t for _, _, t in arrived]
    assert times == sorted(times)


def test_messages_of_many_threads_keep_each_threads_order(rig: Any) -> None:
    """Threads that print would lose lines or show them shuffled."""
    client = rig.client()
    client.subscribe()
    assert client.recv(SocketID.iopub) == [b"", b"welcome"]

    def publish(name: int) -> None:
        for n in range(500):
            rig.transport.send(SocketID.iopub, [b"stream", b"%d" % name, b"%d" % n])

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    got = [client.recv(SocketID.iopub) for _ in range(2000)]
    for thread in threads:
        thread.join()
    for name in range(4):
        assert [int(n) for _, by, n in got if int(by) == name] == list(range(500))


def test_reply_sent_while_receiving(rig: Any) -> None:
    """`kernel_info` is answered where it is received, before there is an event loop."""
    rig.receive = lambda socket_id, frames, t: rig.transport.send(socket_id, frames)
    client = rig.client()
    for n in range(50):
        client.send(SocketID.shell, b"%d" % n)
        assert client.recv(SocketID.shell) == [b"%d" % n]


def test_one_message_is_received_at_a_time(rig: Any) -> None:
    """The code that verifies and decodes keeps state (replay check, order of arrival) without a lock."""
    inside = threading.Lock()
    done = threading.Semaphore(0)

    def receive(*_: Any) -> None:
        assert inside.acquire(blocking=False)
        inside.release()
        done.release()

    rig.receive = receive
    clients = [rig.client(b"%d" % n) for n in range(3)]

    def ask(client: Any) -> None:
        for n in range(100):
            client.send(ROUTERS[n % 3], b"x")

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(300):
        assert done.acquire(timeout=10)


def test_failure_while_receiving_is_logged_and_the_next_message_comes(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One strange message would silence the kernel for good."""
    deliver = rig.receive

    def receive(socket_id: SocketID, frames: list[Any], t: float) -> None:
        if frames[1] == b"bad":
            raise LookupError("strange")
        deliver(socket_id, frames, t)

    rig.receive = receive
    client = rig.client()
    client.send(SocketID.shell, b"bad")
    client.send(SocketID.shell, b"good")
    assert rig.next()[1][1] == b"good"
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


def test_subscribers_are_welcomed_and_get_their_topics(rig: Any) -> None:
    """A client could not know from when on it sees every output (JEP 65)."""
    everything, streams = rig.client(b"all"), rig.client(b"streams")
    everything.subscribe()
    assert everything.recv(SocketID.iopub) == [b"", b"welcome"]
    streams.subscribe(b"stream")
    assert streams.recv(SocketID.iopub) == [b"stream", b"welcome"]
    rig.transport.send(SocketID.iopub, [b"status", b"busy"])
    rig.transport.send(SocketID.iopub, [b"stream.stdout", b"text"])
    assert streams.recv(SocketID.iopub) == [b"stream.stdout", b"text"]
    assert [everything.recv(SocketID.iopub)[0] for _ in range(3)] == [b"stream", b"status", b"stream.stdout"]


def test_what_is_held_comes_though_nothing_follows(rig: Any) -> None:
    """A cell that computes for an hour would be shown as one that has not begun."""
    client = rig.client()
    client.subscribe()
    assert client.recv(SocketID.iopub) == [b"", b"welcome"]
    for n in range(50):
        client.send(SocketID.shell, b"%d" % n)
        rig.next()
        rig.transport.send(SocketID.iopub, [b"status", b"busy"], hold=True)
        assert client.recv(SocketID.iopub) == [b"status", b"busy"]
    rig.transport.send(SocketID.iopub, [b"status", b"idle"], hold=True)
    assert client.recv(SocketID.iopub) == [b"status", b"idle"]


def test_big_frames_both_ways(rig: Any) -> None:
    """Widgets and images send megabytes; what came must not change under the reader."""
    big = bytes(range(256)) * 20_000
    client = rig.client()
    client.send(SocketID.shell, b"<IDS|MSG>", big, b"", b"end")
    _, frames, _ = rig.next()
    assert [bytes(frame) for frame in frames[1:]] == [b"<IDS|MSG>", big, b"", b"end"]
    assert memoryview(frames[2]).readonly
    rig.transport.send(SocketID.shell, frames)
    assert client.recv(SocketID.shell) == [b"<IDS|MSG>", big, b"", b"end"]


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_what_is_changed_after_sending_is_sent_as_it_was(rig: Any, size: int) -> None:
    """An array reused by the user's next line would corrupt the message that shows it."""
    client = rig.client(b"me")
    client.send(SocketID.shell, b"hello")
    rig.next()
    array = bytearray(b"a" * size)
    frames = [b"me", array, memoryview(array)[::2]]
    rig.transport.send(SocketID.shell, frames)
    array[:] = b"b" * size
    frames.clear()
    assert client.recv(SocketID.shell) == [b"a" * size, b"a" * (size // 2)]


def test_wider_items_are_sent_as_bytes(rig: Any) -> None:
    """A memoryview of numbers says how many, not how many bytes."""
    client = rig.client(b"me")
    client.send(SocketID.shell, b"hello")
    rig.next()
    rig.transport.send(SocketID.shell, [b"me", memoryview(bytes(range(80))).cast("q"), memoryview(b"")])
    assert client.recv(SocketID.shell) == [bytes(range(80)), b""]


def test_what_is_no_message_is_refused_where_it_is_sent(rig: Any) -> None:
    """An error in another thread, half a message later, would garble the next reply."""
    client = rig.client(b"me")
    client.send(SocketID.shell, b"hello")
    rig.next()
    with pytest.raises(TypeError, match="str"):
        rig.transport.send(SocketID.shell, [b"me", "text"])
    with pytest.raises(ValueError, match="without frames"):
        rig.transport.send(SocketID.shell, [])
    rig.transport.send(SocketID.shell, [b"me", b"fine"])
    assert client.recv(SocketID.shell) == [b"fine"]


def test_last_messages_arrive_and_later_ones_are_logged(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    """`shutdown_reply` and the last `idle` must reach the client that waits for them."""
    client = rig.client(b"me")
    client.subscribe()
    client.recv(SocketID.iopub)
    client.send(SocketID.control, b"shutdown_request")
    rig.next()
    for n in range(100):
        rig.transport.send(SocketID.iopub, [b"stream", b"%d" % n])
    rig.transport.send(SocketID.control, [b"me", b"shutdown_reply"])
    rig.transport.send(SocketID.iopub, [b"status", b"idle"])
    rig.transport.close()
    rig.transport.close()
    assert client.recv(SocketID.control) == [b"shutdown_reply"]
    got = [client.recv(SocketID.iopub) for _ in range(101)]
    assert got == [[b"stream", b"%d" % n] for n in range(100)] + [[b"status", b"idle"]]
    assert not caplog.records
    rig.transport.send(SocketID.shell, [b"me", b"too late"])
    assert [(r.levelno, "shell" in r.message) for r in caplog.records] == [(logging.WARNING, True)]


def test_a_second_start_is_refused(rig: Any) -> None:
    """Two owners of the same ports would each get half of the requests."""
    with pytest.raises(RuntimeError, match="before"):
        rig.transport.start(rig.receive)
