"""What only real sockets can show: ports, the heartbeat, encryption, clients that vanish, the end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zmq

from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.transport import connection_file
from async_kernel.transport.zmq_transport import ZmqTransport
from async_kernel.typing import SocketID


def ignore(*_: Any) -> None:
    """Receives."""


def resources() -> tuple[set[str], set[str]]:
    """The open descriptors and the threads of this process, ZMQ's own included."""
    fds: set[str] = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # That of the listing, or one that another thread has closed.
            fds.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return fds, set(os.listdir("/proc/self/task"))


def assert_nothing_new(before: tuple[set[str], set[str]]) -> None:
    # A thread that was joined may need some microseconds more to leave the system's list.
    end = time.monotonic() + 5
    while any(now - then for now, then in zip(resources(), before, strict=True)) and time.monotonic() < end:
        pass
    assert [now - then for now, then in zip(resources(), before, strict=True)] == [set(), set()]


def run_script(text: str, *args: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(text), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def test_free_ports_are_chosen_and_told(opened: Callable[..., Any], kind: str) -> None:
    """The connection file could not say where the kernel is."""
    with opened(kind) as rig:
        ports = rig.transport.info_ports
        assert ports == rig.transport.info.ports
        assert len(set(ports.values())) == 5
        assert all(ports.values())


def test_given_ports_are_used(opened: Callable[..., Any], kind: str) -> None:
    """A client that wrote the connection file knows no other ports; a restarted kernel gets the same ones again."""
    with opened(kind) as rig:
        info = rig.transport.info
    with opened(kind, info=info) as rig:
        assert rig.transport.info == info
        client = rig.client()
        client.send(SocketID.shell, b"hello")
        assert rig.next()[1] == [b"client", b"hello"]


def test_the_heartbeat_echoes(opened: Callable[..., Any], kind: str) -> None:
    """Clients would declare the kernel dead and restart it."""
    with opened(kind) as rig:
        clients = [rig.client(b"one"), rig.client(b"two")]
        for n in range(3):
            for client in clients:
                client.send(SocketID.heartbeat, b"ping %d" % n)
        for n in range(3):
            for client in clients:
                assert client.recv(SocketID.heartbeat) == [b"ping %d" % n]


@pytest.mark.slow
def test_the_heartbeat_echoes_while_the_gil_is_held(folder: Path, connect: Callable[..., Any]) -> None:
    """A long numpy call would look like a dead kernel."""
    script = """
        import sys
        from pathlib import Path
        from async_kernel.protocol.connection_info import ConnectionInfo
        from async_kernel.transport import connection_file
        from async_kernel.transport.zmq_transport import ZmqTransport
        channels = ZmqTransport(ConnectionInfo.new())
        channels.start(lambda socket_id, frames, t: channels.send(socket_id, frames))
        connection_file.write(Path(sys.argv[1]), channels.info)
        sys.stdin.readline()
        sum(range(15_000_000))  # one call, in C: the GIL is held all the time
        sys.stdin.readline()
        channels.close()
    """
    path = folder / "c.json"
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as kernel:
        assert kernel.stdin is not None
        while not path.exists():
            assert kernel.poll() is None
        client: Any = connect(connection_file.read(path))
        for socket_id in (SocketID.heartbeat, SocketID.shell):
            client.send(socket_id, b"connected")
            assert client.recv(socket_id) == [b"connected"]
        kernel.stdin.write("hold the GIL\n")
        kernel.stdin.flush()
        # The first message that is not answered at once shows that the GIL is held.
        shell = client.socket(SocketID.shell)
        client.send(SocketID.shell, b"0")
        while shell.poll(100):
            client.recv(SocketID.shell)
            client.send(SocketID.shell, b"0")
        for n in range(20):
            client.send(SocketID.heartbeat, b"%d" % n)
            assert client.recv(SocketID.heartbeat) == [b"%d" % n]
        assert not shell.poll(0), "the GIL was free before the heartbeats were answered"
        assert client.recv(SocketID.shell) == [b"0"]
        kernel.communicate("end\n", timeout=20)
    assert kernel.returncode == 0


def test_every_subscriber_is_welcomed(opened: Callable[..., Any], kind: str) -> None:
    """The second client of a kernel would wait for its welcome for ever."""
    with opened(kind) as rig:
        for name in (b"one", b"two", b"three"):
            client = rig.client(name)
            client.subscribe()
            assert client.recv(SocketID.iopub) == [b"", b"welcome"]


def test_a_failing_greeting_is_logged(opened: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """The thread of all channels would die with it."""

    def fail(topic: bytes) -> Any:
        if topic == b"bad":
            raise LookupError(topic)
        return [topic, b"welcome"]

    with opened("tcp", welcome=fail) as rig:
        client = rig.client()
        client.subscribe(b"bad")
        client.subscribe(b"good")
        assert client.recv(SocketID.iopub) == [b"good", b"welcome"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


def test_replies_to_a_client_that_has_gone_are_dropped(
    opened: Callable[..., Any], connect: Callable[..., Any], kind: str
) -> None:
    """A browser tab closed in the middle of a cell would block or end the kernel."""
    with opened(kind) as rig:
        gone = connect(rig.transport.info, b"gone")
        gone.send(SocketID.shell, b"question")
        assert rig.next()[1] == [b"gone", b"question"]
        gone.close()
        other = rig.client(b"other")
        for _ in range(100):
            rig.transport.send(SocketID.shell, [b"gone", b"x" * 100_000])
        rig.transport.send(SocketID.shell, [b"never seen", b"answer"])
        other.send(SocketID.shell, b"question")
        assert rig.next()[1] == [b"other", b"question"]
        rig.transport.send(SocketID.shell, [b"other", b"answer"])
        assert other.recv(SocketID.shell) == [b"answer"]


@pytest.mark.parametrize("socket_id", [SocketID.shell, SocketID.stdin])
def test_a_client_that_comes_back_gets_the_answers(
    opened: Callable[..., Any], connect: Callable[..., Any], socket_id: SocketID
) -> None:
    """After a lost connection, `input()` and replies would go to the dead one (its identity is the session's)."""
    with opened("tcp") as rig:
        # The first is still open when the second comes: the kernel does not know that it is dead.
        clients = [connect(rig.transport.info, b"session") for _ in range(2)]
        for client in clients:
            client.send(socket_id, b"hello")
            assert rig.next()[1] == [b"session", b"hello"]
        rig.transport.send(socket_id, [b"session", b"answer"])
        assert clients[1].recv(socket_id) == [b"answer"]


def test_curve_lets_in_who_knows_the_key(connect: Callable[..., Any], opened: Callable[..., Any]) -> None:
    """Encryption that is asked for and not there is worse than none."""
    public, secret = zmq.curve_keypair()
    info = ConnectionInfo.new().replace(curve_publickey=public, curve_secretkey=secret)
    with opened("tcp", info=info) as rig:
        stranger = connect(rig.transport.info, b"stranger")
        for socket_id in (SocketID.shell, SocketID.heartbeat, SocketID.control, SocketID.stdin):
            # Its own ZMQ gives up where the handshake fails first: then there is nobody to send to.
            with contextlib.suppress(zmq.Again):
                stranger.socket(socket_id).send(b"in plain text", zmq.NOBLOCK)
        friend = connect(rig.transport.info, b"friend", server_key=public)
        friend.send(SocketID.heartbeat, b"ping")
        assert friend.recv(SocketID.heartbeat) == [b"ping"]
        friend.subscribe()
        assert friend.recv(SocketID.iopub) == [b"", b"welcome"]
        for socket_id in (SocketID.shell, SocketID.control, SocketID.stdin):
            friend.send(socket_id, b"hello")
            assert rig.next()[:2] == (socket_id, [b"friend", b"hello"])
            rig.transport.send(socket_id, [b"friend", b"answer"])
            assert friend.recv(socket_id) == [b"answer"]
        assert rig.received.empty()
        assert not stranger.socket(SocketID.heartbeat).poll(0)


@pytest.mark.parametrize("channel", ["shell", "iopub", "heartbeat"])
def test_a_taken_port_is_named(channel: str) -> None:
    """A traceback of ZMQ does not say which port, nor what to do."""
    before = resources()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        transport = ZmqTransport(ConnectionInfo.new().replace(ports={SocketID[channel]: port}))
        with pytest.raises(SetupError) as caught:
            transport.start(ignore)
    words = str(caught.value)
    assert channel in words
    assert f":{port}" in words
    assert "in use" in words
    assert "another port" in words
    transport.close()
    assert_nothing_new(before)


@pytest.mark.parametrize("ip", ["192.0.2.1", "no-such-name.invalid"])
def test_a_foreign_address_is_named(ip: str) -> None:
    """A wrong `ip` in a connection file is a frequent mistake."""
    with pytest.raises(SetupError, match=f"{ip}.*address of this machine"):
        ZmqTransport(ConnectionInfo.new(ip=ip)).start(ignore)


def test_wrong_curve_keys_are_named() -> None:
    """The kernel would die with a traceback, or worse, listen unencrypted."""
    info = ConnectionInfo.new().replace(curve_publickey=b"\\" * 40, curve_secretkey=b"\\" * 40)
    with pytest.raises(SetupError, match="keys"):
        ZmqTransport(info).start(ignore)


def test_ipv6_and_names_for_all_addresses() -> None:
    """`ip: "*"` and an IPv6 address are what containers listen on."""
    for ip in ["*", "localhost", *(["::1"] if _has_ipv6() else [])]:
        transport = ZmqTransport(ConnectionInfo.new(ip=ip))
        transport.start(ignore)
        assert all(transport.info_ports.values())
        transport.close()


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_close_leaves_nothing_behind(opened: Callable[..., Any], kind: str, folder: Path) -> None:
    """A program that starts kernels in turn would run out of descriptors and threads."""
    before = resources()
    for _ in range(3):
        with opened(kind) as rig:
            client = rig.client()
            client.subscribe()
            client.recv(SocketID.iopub)
            client.send(SocketID.shell, b"question")
            _, frames, _ = rig.next()
            rig.transport.send(SocketID.shell, frames)
    assert_nothing_new(before)
    assert not list(folder.iterdir())


def test_close_is_bounded_when_nobody_reads(opened: Callable[..., Any], connect: Callable[..., Any]) -> None:
    """Shutting down would hang on a client that has stopped."""
    with opened("ipc") as rig:
        client = connect(rig.transport.info)
        client.socket(SocketID.iopub, {zmq.RCVHWM: 1, zmq.RCVBUF: 4096})
        client.subscribe()
        client.recv(SocketID.iopub)
        for _ in range(150):
            rig.transport.send(SocketID.iopub, [b"stream", b"x" * 50_000])
        closing = threading.Thread(target=rig.transport.close, args=(0.2,))
        closing.start()
        closing.join(5)
        assert not closing.is_alive()


def test_closing_while_receiving(opened: Callable[..., Any]) -> None:
    """A handler that ends the kernel would wait for itself."""
    with opened("tcp") as rig:
        rig.receive = lambda *_: rig.transport.close()
        rig.client().send(SocketID.control, b"shutdown")
        rig.transport.close()
    assert "transport" not in [thread.name for thread in threading.enumerate()]


def test_a_process_that_forgets_to_close_ends() -> None:
    """An embedded kernel whose program ends by an exception would hang for ever."""
    done = run_script("""
        from async_kernel.protocol.connection_info import ConnectionInfo
        from async_kernel.transport.zmq_transport import ZmqTransport
        from async_kernel.typing import SocketID
        channels = ZmqTransport(ConnectionInfo.new())
        channels.start(print)
        for n in range(1000):
            channels.send(SocketID.iopub, [b"stream", b"x" * 10_000])
        print("done")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("way_out", ["os._exit(7)", "sys.exit(7)"])
def test_a_forked_child_neither_sends_nor_hangs(way_out: str) -> None:
    """`multiprocessing` in a cell: what the child prints would corrupt the parent's messages, or the child hang."""
    done = run_script(
        """
        import os, sys, warnings, zmq
        from async_kernel.protocol.connection_info import ConnectionInfo
        from async_kernel.transport.zmq_transport import ZmqTransport
        from async_kernel.typing import SocketID
        warnings.simplefilter("ignore", DeprecationWarning)
        channels = ZmqTransport(ConnectionInfo.new(), welcome=lambda topic: [topic, b"welcome"])
        channels.start(print)
        context = zmq.Context()
        client = context.socket(zmq.SUB)
        client.subscribe(b"")
        client.connect(channels.info.url(SocketID.iopub))
        assert client.recv_multipart() == [b"", b"welcome"]
        child = os.fork()
        if not child:
            for _ in range(30_000):
                channels.send(SocketID.iopub, [b"child" * 200])
            channels.close()
            WAY_OUT
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        channels.send(SocketID.iopub, [b"parent"])
        assert client.recv_multipart() == [b"parent"]
        context.destroy(0)
        channels.close()
        """.replace("WAY_OUT", way_out)
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_is_cheap() -> None:
    """`kernel_info` is answered before the heavy libraries are there; this room must not pull them in."""
    done = run_script("""
        import sys, zmq, msgspec
        before = set(sys.modules)
        import async_kernel.transport.connection_file, async_kernel.transport.zmq_transport
        print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
    """)
    assert done.stderr == ""
    heavy = {"IPython", "anyio", "asyncio", "dataclasses", "inspect", "jupyter_client", "jupyter_core", "tempfile"}
    assert not {*heavy, "traitlets", "uuid"} & set(done.stdout.split())


def test_interrupting_a_sender_keeps_its_thread_going(opened: Callable[..., Any], connect: Callable[..., Any]) -> None:
    """A flood that is held back by a slow client could not be stopped with the stop button."""

    class StoppedError(Exception):
        """Raised by the signal's handler."""

    stopped = threading.Event()

    def stop(*_: Any) -> None:
        if not stopped.is_set():
            raise StoppedError

    def press() -> None:
        # Again and again, as a user would: where a finalizer just runs, Python only prints what a handler raises.
        while not stopped.wait(0.3):
            signal.pthread_kill(main, signal.SIGUSR1)

    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, stop)
    user = threading.Thread(target=press)
    try:
        with opened("ipc") as rig:
            client = connect(rig.transport.info)
            client.socket(SocketID.iopub, {zmq.RCVHWM: 1})
            client.subscribe()
            client.recv(SocketID.iopub)
            user.start()
            sent = 0
            try:
                while sent < 1000:
                    rig.transport.send(SocketID.iopub, [b"stream", b"%d" % sent, b"x" * 50_000])
                    sent += 1
            except StoppedError:
                stopped.set()
            assert sent < 1000
            rig.transport.send(SocketID.shell, [b"nobody", b"x"])
            got = [int(client.recv(SocketID.iopub)[1]) for _ in range(sent)]
            assert got == list(range(sent))
    finally:
        stopped.set()
        if user.ident is not None:
            user.join()
        signal.signal(signal.SIGUSR1, before)
