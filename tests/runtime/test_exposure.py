"""Who could reach the channels, and what is refused for it."""

from __future__ import annotations

import re

import pytest

from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.runtime.exposure import NO_CONSENT, Consent, ExposureError, check_exposure, reach

PUBLIC, SECRET = b"p" * 40, b"s" * 40
EVERYWHERE = ("*", "0.0.0.0", "0", "0x0", "::", "[::]", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0")
NETWORK = (
    "192.168.1.2",
    "10.0.0.1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "::2",
    "128.0.0.1",
    "1::",
    "eth0",
    "no.such",
    "",
)
MACHINE = ("127.0.0.1", "127.1", "127.200.3.4", "0x7f000001", "localhost", "lo", "::1", "[::1]", "::ffff:127.0.0.1")


@pytest.mark.parametrize(
    ("addresses", "expected"), [(EVERYWHERE, "everywhere"), (NETWORK[:-1], "network"), (("", *MACHINE), "machine")]
)
def test_reach(addresses: tuple[str, ...], expected: str) -> None:
    """ZMQ binds every spelling of an address: one that is overlooked here is open to the network."""
    assert {ip: reach(ip) for ip in addresses} == dict.fromkeys(addresses, expected)


def info(ip: str = "127.0.0.1", *, key: bytes = b"k", curve: bool = False, transport: str = "tcp") -> ConnectionInfo:
    made = ConnectionInfo.new(ip=ip, transport=transport).replace(key=key)
    return made.replace(curve_publickey=PUBLIC, curve_secretkey=SECRET) if curve else made


def refusal(info: ConnectionInfo, consent: Consent = NO_CONSENT) -> str:
    try:
        check_exposure(info, consent, "the file")
    except ExposureError as error:
        return str(error)
    return ""


def test_what_is_refused() -> None:
    """Whoever is on the network, or on the machine, could run code as the user."""
    assert re.match("the file has no key: .* allow_unsigned: true$", refusal(info(key=b"")))
    assert re.match("the file: ip '0.0.0.0' means every address .* allow_network: true$", refusal(info("0.0.0.0")))
    assert re.match("the file: ip '10.0.0.1' is not of this machine alone", refusal(info("10.0.0.1")))
    # CURVE says who may not read along. It does not make up for a missing key, nor for every address.
    assert "no key" in refusal(info(key=b"", curve=True))
    assert "every address" in refusal(info("*", curve=True))
    # One consent is not the other.
    assert "no key" in refusal(info(key=b""), Consent(network=True))
    assert "every address" in refusal(info("*"), Consent(unsigned=True))


def test_what_is_not_refused() -> None:
    """Kernels would not start that nobody else can reach, or whose user wants it so."""
    assert refusal(info()) == refusal(info("10.0.0.1", curve=True)) == refusal(info("::1")) == ""
    assert refusal(info("/run/x/channel", key=b"", transport="ipc")) == ""
    assert refusal(info("*", key=b""), Consent(unsigned=True, network=True)) == ""
