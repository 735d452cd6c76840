"""Who could reach the channels: what lets others run code is refused unless the profile consents.

Over ipc nobody but the owner can connect: the system itself asks for the mode of the sockets.
"""

from __future__ import annotations

import socket
from typing import Final, Literal, NamedTuple

from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo

__all__ = ["NO_CONSENT", "Consent", "ExposureError", "check_exposure", "reach"]

Reach = Literal["machine", "network", "everywhere"]

LOOPBACK: Final = frozenset(("127.0.0.1", "", "localhost", "lo"))
"What needs no look: most kernels listen there."


class ExposureError(SetupError):
    """Others could reach the channels, and nobody has consented to that."""


class Consent(NamedTuple):
    """What the user has consented to."""

    unsigned: bool = False
    "Messages are neither signed nor verified."
    network: bool = False
    "Other computers may connect: to every address, or to one without encryption."


NO_CONSENT: Final = Consent()


def check_exposure(info: ConnectionInfo, consent: Consent, said_in: str = "") -> None:
    """Refuse what would let others than the owner in.

    Args:
        info: What is to be bound, with CURVE keys where it shall be encrypted.
        consent: What the user has consented to.
        said_in: Where the client says what `info` holds; empty where it is made by this kernel.

    Raises:
        ExposureError: Why, and what to do.
    """
    if info.transport == "ipc":
        return
    if not info.key and not consent.unsigned:
        raise ExposureError(
            f"{said_in or 'the connection info'} has no key: messages would not be signed, and every user of this "
            "machine could run code. Let the client make a key (jupyter_client: Session.key), use ipc, or consent: "
            "allow_unsigned: true"
        )
    if consent.network:
        return
    where = f"{said_in}: " if said_in else ""
    match reach(info.ip):
        case "everywhere":
            fault = "means every address of this machine: other computers could connect"
        case "network" if info.curve_secretkey is None:
            fault = "is not of this machine alone: the network could read along, as nothing is encrypted"
        case _:
            return
    error = ExposureError(
        f"{where}ip {info.ip!r} {fault}. Use 127.0.0.1 or ipc, a named address with CURVE (encryption: required), or "
        "consent: allow_network: true"
    )
    error.key = "" if said_in else "ip"
    raise error


def reach(ip: str) -> Reach:
    """From where an address to bind can be reached: this machine alone, one network or more, or any of all."""
    if ip in LOOPBACK:
        return "machine"
    if ip == "*":
        return "everywhere"
    try:
        # As ZMQ reads numbers: 0, 127.1 and 0x7f000001 are addresses too. Bytes, as text would load a codec for names.
        found = socket.getaddrinfo(ip.strip("[]").encode(), None, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return "network"  # the name of an interface, or nothing that can be bound
    family, *_, address = found[0]
    packed = socket.inet_pton(family, str(address[0]).partition("%")[0])
    if packed[:12] == bytes(10) + b"\xff\xff":  # an IPv4 address as IPv6 says it
        packed = packed[12:]
    if not any(packed):
        return "everywhere"
    return "machine" if packed in (bytes(15) + b"\1", b"\x7f" + packed[1:4]) else "network"
