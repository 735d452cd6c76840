"""The kernel's connection: its file, its channels, and the reception behind them, as one context manager."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.protocol.wire import Wire
from async_kernel.runtime.exposure import NO_CONSENT, Consent, check_exposure
from async_kernel.runtime.reception import Reception, Report, tell_nobody
from async_kernel.transport import connection_file
from async_kernel.transport.sockets import new_curve_keys
from async_kernel.transport.zmq_transport import ZmqTransport
from async_kernel.typing import Content

__all__ = ["Connection", "connected", "new_connection_file"]

LOCALHOST: Final = "127.0.0.1"
LONGEST_PREFIX: Final = 100
"Bytes: unix(7) allows 107 in a path, and a dash and a number follow."


class Connection:
    """An open connection.

    Args:
        path: Where the connection file is.
        owned: Whether it was written here, so that it is removed when the connection is closed.
        profile: The name of the kernel's profile; empty where it has none.
    """

    def __init__(
        self, path: Path, owned: bool, reception: Reception, wire: Wire, transport: ZmqTransport, profile: str
    ) -> None:
        self.path: Path = path
        self.profile: str = profile
        self.began: float = time.time()
        self._began_ticks = time.monotonic()
        self.reception: Reception = reception
        self.wire: Wire = wire
        self.transport: ZmqTransport = transport
        self.recorder: Any = None
        "The `Recorder` of this process's kernel, where it keeps one."
        self._owned = owned

    @property
    def info(self) -> ConnectionInfo:
        """Where the channels are, with the real ports."""
        return self.transport.info

    def state(self, state: str, running: int) -> Content:
        """What `kernel_info_reply` says beyond the specification, for `async-kernel ps`.

        Args:
            state: starting, idle or busy.
            running: How many requests run.
        """
        began = datetime.fromtimestamp(self.began, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # The clock may have been set since.
        uptime = round(time.monotonic() - self._began_ticks, 3)
        told = {"pid": os.getpid(), "profile": self.profile, "state": state, "started": began, "running": running}
        return {**told, "uptime": uptime}

    def close(self, linger: float = 1.0) -> None:
        """Send what is left for at most `linger` seconds, close the channels, remove our files. Idempotent."""
        self.transport.close(linger)
        if self._owned:
            connection_file.remove(self.path)


def new_connection_file() -> Path:
    """A path for a new connection file in Jupyter's runtime folder, which is made where it is missing.

    Raises:
        SetupError: The folder can't be made.
    """
    from jupyter_core.paths import jupyter_runtime_dir  # not needed where a file is given

    folder = Path(jupyter_runtime_dir())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"can't make Jupyter's runtime folder {folder}: {error.strerror}. Set JUPYTER_RUNTIME_DIR to another"
        ) from error
    return folder / f"kernel-{os.urandom(16).hex()}.json"


def ipc_prefix(path: Path) -> str:
    """Where the ipc endpoints are: beside the connection file, or, where that path is too long, in a new folder."""
    prefix = str(path.with_suffix("").absolute()) + "-ipc/channel"
    if len(os.fsencode(prefix)) <= LONGEST_PREFIX:
        return prefix
    import tempfile  # seldom needed

    return os.path.join(tempfile.gettempdir(), f"async-kernel-{os.urandom(8).hex()}", "channel")


def planned(path: Path, info: ConnectionInfo | None, *, transport: str, ip: str, kernel_name: str) -> ConnectionInfo:
    """What to bind: `info` where it is given, else what the file at `path` says, else new with free ports."""
    if info is not None:
        return info
    if path.exists():
        return connection_file.read(path)
    if transport == "ipc":
        # A folder of its own, so that it can be closed to others (0700) and removed as a whole.
        ip = ip or ipc_prefix(path)
    return ConnectionInfo.new(transport=transport, ip=ip or LOCALHOST, kernel_name=kernel_name)


class EncryptionError(SetupError):
    """The channels would not be as `encryption` says."""

    key = "encryption"


def private(info: ConnectionInfo, encryption: str, given: bool) -> ConnectionInfo:
    """What to bind so that `encryption` is obeyed.

    Args:
        info: Where to listen, perhaps with CURVE keys.
        encryption: `disabled`; `auto`: with CURVE where there are keys; or `required`: over tcp, with CURVE. The
            sockets of ipc are files that only their owner may connect to.
        given: Whether `info` is a client's, which knows no other keys than those in it.

    Raises:
        EncryptionError: `info` can't be used so.
    """
    has_keys = info.curve_secretkey is not None
    if encryption == "disabled" and has_keys:
        raise EncryptionError(
            "encryption: disabled, but the connection file has CURVE keys, and the client that wrote it will use them. "
            "Say `auto`, or switch transport_encryption off in the client"
        )
    if encryption != "required" or info.transport == "ipc":
        return info
    if not has_keys and given:
        raise EncryptionError(
            "encryption: required, but the connection file has no CURVE keys (curve_publickey, curve_secretkey). Let "
            "the client that writes it make them (jupyter_client 8.9: KernelManager.transport_encryption = 'auto'), or "
            "use ipc"
        )
    if has_keys:
        return info
    public, secret = new_curve_keys()
    return info.replace(curve_publickey=public, curve_secretkey=secret)


@contextmanager
def connected(
    path: Path,
    info: ConnectionInfo | None = None,
    *,
    transport: str = "tcp",
    ip: str = "",
    kernel_name: str = "async",
    profile: str = "",
    encryption: str = "auto",
    consent: Consent = NO_CONSENT,
    kernel_info: Callable[[], Content] | None = None,
    tell: Report = tell_nobody,
) -> Generator[Connection]:
    """Bind the channels and answer `kernel_info`; write the connection file unless it is there; undo both at the end.

    Raises:
        SetupError: The file is wrong or can't be written, or a channel can't be bound, or would let others in.
    """
    given = path.exists()
    plan = planned(path, info, transport=transport, ip=ip, kernel_name=kernel_name)
    plan = private(plan, encryption, given or info is not None)
    check_exposure(plan, consent, "the connection info" if info else f"the connection file {path}" if given else "")
    wire = Wire(plan.key, plan.signature_scheme)
    # The transport greets subscribers in the name of the messenger, which sends through the transport.
    channels = ZmqTransport(
        plan,
        welcome=lambda topic: reception.messenger.welcome(topic),
        on_cut=lambda missed: reception.messenger.cut_notice(missed),
    )

    def starting() -> Content:
        known = {} if kernel_info is None else kernel_info()
        return {**known, "async_kernel": connection.state("starting", 0)}

    reception = Reception(wire, channels, None if kernel_info is None else starting, tell)
    connection = Connection(path, not given, reception, wire, channels, profile)
    try:
        reception.open()
        if not given:
            connection_file.write(path, channels.info)
        yield connection
    finally:
        connection.close()
