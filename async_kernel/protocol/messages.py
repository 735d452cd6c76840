"""The words of replies and broadcasts: reply types, topics, and the contents that every kernel says the same way.

Source: Jupyter messaging specification, protocol 5.5.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from async_kernel.typing import Content, MsgType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["PROTOCOL_VERSION", "error_content", "kernel_info_content", "reply_type", "status_content", "topic"]

PROTOCOL_VERSION: Final = "5.5"

_REPLY_TYPES: Final[Mapping[str, str]] = {
    member.value: f"{member.value.removesuffix('_request')}_reply"
    for member in MsgType
    if member.value.endswith("_request")
}


def reply_type(msg_type: str) -> str | None:
    """The type of the reply to `msg_type`; None where it has none (comms, types that no kernel knows)."""
    return _REPLY_TYPES.get(msg_type)


def topic(name: str) -> bytes:
    """The iopub topic of a broadcast, e.g. ``b"kernel.status"``."""
    return f"kernel.{name}".encode()


def status_content(execution_state: str) -> Content:
    """The content of a `status` message: busy, idle or starting."""
    return {"execution_state": execution_state}


def error_content(exc: BaseException, traceback: Sequence[str] | None = None) -> Content:
    """The content of an error reply, or of an `error` message.

    Args:
        exc: What was raised.
        traceback: Lines for the reader; by default the one line that names the exception.
    """
    ename = type(exc).__name__
    try:
        evalue = str(exc)
    except Exception as error:  # noqa: BLE001 - an exception of a user's whose `__str__` fails must still be reported
        evalue = f"<str({ename}) raised {type(error).__name__}>"
    if traceback is None:
        traceback = [f"{ename}: {evalue}"]
    return {"status": "error", "ename": ename, "evalue": evalue, "traceback": [*traceback]}


def kernel_info_content(
    *,
    implementation_version: str,
    banner: str,
    help_links: Iterable[Mapping[str, str]] = (),
    debugger: bool = False,
    supported_features: Sequence[str] = (),
) -> Content:
    """The content of a `kernel_info_reply`, `status` included.

    Args:
        implementation_version: The version of this package.
        banner: What a console shows at its start.
        help_links: Links for the help menu of a frontend, as ``{"text": ..., "url": ...}``.
        debugger: Whether debug requests are answered.
        supported_features: Optional features of the protocol, e.g. ``"kernel subshells"`` (JEP 91, JEP 92).
    """
    return {
        "status": "ok",
        "protocol_version": PROTOCOL_VERSION,
        "implementation": "async_kernel",
        "implementation_version": implementation_version,
        "language_info": {
            "name": "python",
            "version": ".".join(map(str, sys.version_info[:3])),
            "mimetype": "text/x-python",
            "codemirror_mode": {"name": "ipython", "version": sys.version_info[0]},
            "pygments_lexer": f"ipython{sys.version_info[0]}",
            "nbconvert_exporter": "python",
            "file_extension": ".py",
        },
        "banner": banner,
        "help_links": [dict(link) for link in help_links],
        "debugger": debugger,
        "supported_features": [*supported_features],
    }
