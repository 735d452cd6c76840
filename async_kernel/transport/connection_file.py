"""The connection file: where a kernel listens, and the key that lets a client in. Only its owner may read it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
from pathlib import Path
from typing import Any, Final, cast

from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo, ConnectionInfoError
from async_kernel.transport import ipc
from async_kernel.typing import SocketID

__all__ = ["read", "remove", "remove_leftovers", "remove_stale", "why_kept", "write", "writer_of"]

_PID: Final = "kernel_pid"
_HOST: Final = "kernel_host"
"""Who has written a file; clients overlook both."""

_PROBE_TIMEOUT: Final = 0.5


def read(path: Path) -> ConnectionInfo:
    """The connection info in the file at `path`.

    Raises:
        SetupError: The file is missing, can't be read, or does not say what it should: where, what, and what to do.
    """
    return _parse(path, _load(path))


def write(path: Path, info: ConnectionInfo) -> None:
    """Write `info` to `path`, at once and only for its owner (mode 0600). Its folder must be there.

    Raises:
        SetupError: The file can't be written.
    """
    text = json.dumps(info.as_dict() | {_PID: os.getpid(), _HOST: platform.node()}, indent=1)
    # A name of its own beside the file, renamed when complete: nobody ever reads half a file.
    new = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
    except OSError as error:
        raise SetupError(
            f"can't write the connection file {path}: {error.strerror}. Choose a folder that you may write to "
            "(`connection_file`, or JUPYTER_RUNTIME_DIR)"
        ) from error


def remove(path: Path) -> None:
    """Remove the file at `path` if this process has written it; else leave it alone."""
    data = _try_load(path)
    if data.get(_PID) == os.getpid() and data.get(_HOST) == platform.node():
        with contextlib.suppress(OSError):
            path.unlink()


def remove_stale(folder: Path) -> list[Path]:
    """Remove what kernels of this package that were killed have left in `folder`; returns the connection files.

    Only where it is certain: the file says that a process of this machine wrote it, that process is no more, and nobody
    answers at any of its endpoints. Its ipc sockets, and the folder made for them, go with it.
    """
    # Elsewhere there is no harmless way to ask for a process.
    paths = sorted(folder.glob("*.json")) if os.name == "posix" else ()
    return [path for path in paths if not why_kept(path) and remove_leftovers(path)]


def why_kept(path: Path, writer: tuple[int, str] | None = None) -> str:
    """Why the connection file at `path` is not certain to be that of a dead kernel; empty where it is.

    Args:
        path: The file.
        writer: The process (id, host name) whose kernel it is, where something else than the file says so.
    """
    data = _try_load(path)
    pid, host = data.get(_PID), data.get(_HOST)
    if pid is None and writer is not None:
        pid, host = writer
    if type(pid) is not int or host is None:
        return "nothing says which process on which machine it belongs to"
    if host != platform.node():
        return f"it belongs to a process on {host}"
    if not _is_dead(pid):
        return f"the process {pid} lives"
    try:
        info = _parse(path, data)
        alive = next((each.name for each in SocketID if _answers(info, each)), "")
    except (SetupError, OSError) as error:
        return str(error)
    return f"somebody listens on its {alive} channel" if alive else ""


def remove_leftovers(path: Path) -> bool:
    """Remove the connection file of a dead kernel, its ipc sockets and the folder made for them; whether it worked."""
    try:
        _remove_sockets(read(path), path.parent)
        path.unlink()
    except (SetupError, OSError):
        return False
    return True


def writer_of(path: Path) -> tuple[int, str] | None:
    """The process (id, host name) that has written the file at `path`; None where it was not one of ours."""
    data = _try_load(path)
    pid, host = data.get(_PID), data.get(_HOST)
    return (pid, host) if type(pid) is int and isinstance(host, str) else None


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise SetupError(f"there is no connection file {path}. Give the path of one (-f)") from None
    except OSError as error:
        raise SetupError(
            f"can't read the connection file {path}: {error.strerror}. It must be a file that you may read"
        ) from error
    except ValueError as error:
        raise SetupError(
            f"the connection file {path} is not JSON: {error}. Let the Jupyter client that starts the kernel write it"
        ) from error


def _try_load(path: Path) -> dict[str, Any]:
    """The object in the file at `path`; empty where there is none."""
    try:
        data = _load(path)
    except SetupError:
        return {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _parse(path: Path, data: Any) -> ConnectionInfo:
    if not isinstance(data, dict):
        raise SetupError(f"the connection file {path} must hold an object, it holds {type(data).__name__}")
    try:
        return ConnectionInfo.parse(cast("dict[str, Any]", data))
    except ConnectionInfoError as error:
        raise SetupError(
            f"the connection file {path} is wrong: {error}. Let the Jupyter client that starts the kernel write it"
        ) from error


def _is_dead(pid: Any) -> bool:
    """Whether it is certain that there is no process `pid`."""
    if type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _answers(info: ConnectionInfo, socket_id: SocketID) -> bool:
    """Whether somebody listens at the endpoint, or might."""
    port = info.ports[socket_id]
    if info.transport == "ipc":
        return ipc.is_alive(f"{info.ip}-{port}")
    host = "127.0.0.1" if info.ip in ("", "*", "0.0.0.0", "localhost") else info.ip
    try:
        with socket.create_connection((host, port), _PROBE_TIMEOUT):
            return True
    except ConnectionRefusedError:
        return False
    except OSError:
        return True


def _remove_sockets(info: ConnectionInfo, folder: Path) -> None:
    if info.transport == "ipc":
        for port in info.ports.values():
            ipc.remove_dead(f"{info.ip}-{port}")
        if Path(info.ip).parent != folder:
            ipc.remove_folder(Path(info.ip).parent)
