"""Where a kernel listens and how its messages are signed and encrypted: what a connection file holds.

Source: Jupyter kernels documentation, "Connection files".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

import msgspec

from async_kernel.errors import SetupError
from async_kernel.protocol.wire import is_signature_scheme, new_id
from async_kernel.typing import SocketID

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ConnectionInfo", "ConnectionInfoError"]

_LOCAL: Final[Mapping[str, str]] = {"": "127.0.0.1", "localhost": "127.0.0.1", "*": "0.0.0.0"}
_PORTS: Final = tuple(f"{socket_id.value}_port" for socket_id in SocketID)
_CURVE_KEYS: Final = ("curve_publickey", "curve_secretkey")
_CURVE_KEY_SIZE: Final = 40
_MAX_PORT: Final = 65535


class ConnectionInfoError(SetupError):
    """A field of the connection info is missing or wrong."""

    def __init__(self, field: str, expected: str, got: object = msgspec.UNSET) -> None:
        came = "it is missing" if got is msgspec.UNSET else f"got {got!r}"
        super().__init__(f"connection info: {field}: expected {expected}, {came}")
        self.field: str = field


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where a kernel listens and how its messages are signed; frozen. A port of 0 is still to be chosen.

    With the transport ``ipc``, `ip` is the path before the dash in ``<path>-<port>``.
    """

    transport: Literal["tcp", "ipc"] = "tcp"
    ip: str = "127.0.0.1"
    hb_port: int = 0
    shell_port: int = 0
    stdin_port: int = 0
    control_port: int = 0
    iopub_port: int = 0
    key: bytes = b""
    signature_scheme: str = "hmac-sha256"
    kernel_name: str = ""
    curve_publickey: bytes | None = None
    curve_secretkey: bytes | None = None

    @classmethod
    def new(cls, *, transport: str = "tcp", ip: str = "127.0.0.1", kernel_name: str = "") -> Self:
        """Info with a random key, whose ports are still to be chosen.

        Raises:
            ConnectionInfoError: `transport` is neither tcp nor ipc.
        """
        return cls(transport=_transport(transport), ip=ip, key=new_id().encode(), kernel_name=kernel_name)

    @classmethod
    def parse(cls, info: Mapping[str, Any]) -> Self:
        """The info in a connection file's object, or a client's dict; unknown fields are left out.

        Raises:
            ConnectionInfoError: A field is missing or wrong; its name is in the message.
        """
        fields: dict[str, Any] = {name: _port(info, name) for name in _PORTS}
        for name, default in (("kernel_name", ""), ("ip", "127.0.0.1")):
            fields[name] = _string(info, name, default)
        fields["transport"] = _transport(_string(info, "transport", "tcp"))
        fields["key"] = _secret(info, "key") or b""
        fields["signature_scheme"] = _string(info, "signature_scheme", "hmac-sha256") or "hmac-sha256"
        if not is_signature_scheme(fields["signature_scheme"]):
            raise ConnectionInfoError("signature_scheme", "hmac-<hash>, e.g. hmac-sha256", fields["signature_scheme"])
        for name in _CURVE_KEYS:
            fields[name] = _curve_key(info, name)
        if (fields["curve_publickey"] is None) is not (fields["curve_secretkey"] is None):
            absent = _CURVE_KEYS[fields["curve_publickey"] is not None]
            raise ConnectionInfoError(absent, "both curve keys, or none")
        return cls(**fields)

    @property
    def ports(self) -> dict[SocketID, int]:
        """The ports by channel."""
        return {socket_id: getattr(self, f"{socket_id.value}_port") for socket_id in SocketID}

    def replace(self, *, ports: Mapping[SocketID, int] | None = None, **changes: Any) -> Self:
        """A copy with `changes`, and with the `ports` of the channels named."""
        by_name = {f"{socket_id.value}_port": port for socket_id, port in (ports or {}).items()}
        return msgspec.structs.replace(self, **by_name, **changes)

    def url(self, socket_id: SocketID) -> str:
        """The endpoint of a channel, to bind or to connect to: ``tcp://<ip>:<port>`` or ``ipc://<path>-<port>``."""
        port = self.ports[socket_id]
        if self.transport == "ipc":
            return f"ipc://{self.ip}-{port}"
        ip = _LOCAL.get(self.ip, self.ip)
        return f"tcp://[{ip}]:{port}" if ":" in ip and not ip.startswith("[") else f"tcp://{ip}:{port}"

    def as_dict(self) -> dict[str, Any]:
        """The object of a connection file. What is empty and optional is left out."""
        info: dict[str, Any] = {name: getattr(self, name) for name in ("transport", "ip", *_PORTS)}
        # A key is text in a file; bytes that are no UTF-8 come back unchanged through `parse`.
        info["key"] = self.key.decode("utf-8", "surrogateescape")
        info |= {"signature_scheme": self.signature_scheme, "kernel_name": self.kernel_name}
        if self.curve_publickey is not None and self.curve_secretkey is not None:
            info |= {name: getattr(self, name).decode("ascii") for name in _CURVE_KEYS}
        return info

    def __repr__(self) -> str:
        """Without the keys: a repr ends up in logs."""
        endpoints = ", ".join(f"{socket_id.value}={self.url(socket_id)!r}" for socket_id in SocketID)
        return f"<ConnectionInfo {endpoints}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for rich, which would show every field."""
        return [(socket_id.value, self.url(socket_id)) for socket_id in SocketID]


def _transport(name: str) -> Literal["tcp", "ipc"]:
    if name not in ("tcp", "ipc"):
        raise ConnectionInfoError("transport", "tcp or ipc", name)
    return "tcp" if name == "tcp" else "ipc"


def _port(info: Mapping[str, Any], name: str) -> int:
    port = info.get(name, msgspec.UNSET)
    if type(port) is not int or not 0 <= port <= _MAX_PORT:
        raise ConnectionInfoError(name, f"a port, 0 to {_MAX_PORT}", port)
    return port


def _string(info: Mapping[str, Any], name: str, default: str) -> str:
    value = info.get(name)
    if value is None:
        return default
    if not isinstance(value, str | os.PathLike):
        raise ConnectionInfoError(name, "a string", value)
    return os.fspath(cast("str | os.PathLike[str]", value))


def _secret(info: Mapping[str, Any], name: str) -> bytes | None:
    """A key, which the error does not show."""
    value = info.get(name)
    if value is None or isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ConnectionInfoError(name, "a string", type(value))
    return value.encode("utf-8", "surrogateescape")


def _curve_key(info: Mapping[str, Any], name: str) -> bytes | None:
    key = _secret(info, name) or None
    if key is not None and (len(key) != _CURVE_KEY_SIZE or not key.isascii()):
        raise ConnectionInfoError(name, f"{_CURVE_KEY_SIZE} characters of Z85", f"{len(key)} bytes")
    return key
