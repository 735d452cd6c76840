"""The families of errors, by whose fault it was.

- `ClientError`: what came over a channel was wrong; the client hears of it in an error reply, or, where the message
  can't be trusted, only the log does.
- `SetupError`: the kernel can't start as asked; the reason and the remedy in one line, exit code 2.
- `KernelInterruptError`: nobody's fault: somebody asked to stop.
"""

from __future__ import annotations

__all__ = ["AsyncKernelError", "ClientError", "ContentError", "KernelInterruptError", "SetupError", "WireError"]


class AsyncKernelError(Exception):
    """The base of this package's own errors."""


class ClientError(AsyncKernelError):
    """What a client sent was wrong."""


class WireError(ClientError):
    """Frames that can't be trusted or read: they are dropped, counted under `reason` and logged."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason: str = reason
        "A word to count by: `frames`, `signature`, `replay` or `json`."


class ContentError(ClientError):
    """A field of a request's content is missing or wrong."""

    def __init__(self, msg_type: str, field: str, expected: str, got: object) -> None:
        super().__init__(f"{msg_type}: {field}: expected {expected}, got {got!r}")
        self.field: str = field


class SetupError(AsyncKernelError):
    """The kernel can't be started or installed as asked. The message says what was wrong, where, and what to do."""

    key: str = ""
    "The kernel's dotted attribute that it is about, where it is about one: whoever set it can say where."


class KernelInterruptError(KeyboardInterrupt):
    """Raised in user code by an interrupt.

    A cell that catches `KeyboardInterrupt` catches it; a loop that catches `Exception` does not swallow it.
    """
