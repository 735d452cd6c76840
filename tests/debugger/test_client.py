"""The client against an adapter that behaves badly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.abc
import pytest

from async_kernel.debugger.client import AdapterClient
from async_kernel.errors import ClientError
from async_kernel.protocol.dap import DapParser, encode

pytestmark = pytest.mark.anyio

Adapter = Callable[[anyio.abc.SocketStream, DapParser], Awaitable[None]]


async def session(adapter: Adapter, use: Callable[[AdapterClient], Awaitable[None]]) -> tuple[list[Any], list[str]]:
    """Let a client use an adapter; the events and the reasons of a loss."""
    events: list[Any] = []
    lost: list[str] = []

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):  # The client has gone.
                await adapter(stream, DapParser())

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        client = AdapterClient(group.start_soon, events.append, lost.append)
        _, port = listener.extra(anyio.abc.SocketAttribute.local_address)
        await client.connect(("127.0.0.1", int(port)))
        await use(client)
        await client.close()
        group.cancel_scope.cancel()
    return events, lost


async def test_events_and_responses_in_pieces(anyio_backend: str) -> None:
    """A breakpoint's event would be lost between two packets."""

    async def adapter(stream: anyio.abc.SocketStream, parser: DapParser) -> None:
        request = parser.feed(await stream.receive())[0]
        response = {"type": "response", "request_seq": request["seq"], "success": True, "body": request["arguments"]}
        for byte in encode({"type": "event", "event": "stopped"}) + encode(response):
            await stream.send(bytes([byte]))
        await stream.receive()

    async def use(client: AdapterClient) -> None:
        assert (await client.request("threads", {"a": "é"}))["body"] == {"a": "é"}

    events, lost = await session(adapter, use)
    assert [each["event"] for each in events] == ["stopped"]
    assert lost == []


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "has closed the connection"), (b"what?\r\n\r\n", "does not speak the Debug Adapter")]
)
async def test_an_adapter_that_goes_away(anyio_backend: str, data: bytes, reason: str) -> None:
    """A request would wait for ever, and the next ones behind it."""

    async def adapter(stream: anyio.abc.SocketStream, parser: DapParser) -> None:
        await stream.receive()
        await stream.send(data)

    async def use(client: AdapterClient) -> None:
        for _ in range(2):
            with pytest.raises(ClientError, match=reason):
                await client.request("threads")

    _, lost = await session(adapter, use)
    assert len(lost) == 1
    assert reason in lost[0]


async def test_nobody_listens(anyio_backend: str, free_tcp_port: int) -> None:
    """The reason would be a traceback."""
    with pytest.raises(ClientError, match="does not answer at 127"):
        await AdapterClient(lambda _: None, bool, bool).connect(("127.0.0.1", free_tcp_port))
