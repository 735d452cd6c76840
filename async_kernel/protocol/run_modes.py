"""Which message is run how: THE table, and what a cell or a profile says instead.

Precedence: the first line of the cell, a tag of the cell, the profile, the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypedDict

from async_kernel.errors import SetupError
from async_kernel.typing import Job, MsgType, RunMode, SocketID

__all__ = ["DEFAULTS", "ConcurrencyTable", "RunModeError", "RunModes", "all_concurrency_run_modes", "as_run_mode"]

DEFAULTS: Final[Mapping[str, RunMode]] = {
    MsgType.kernel_info_request: RunMode.direct,
    MsgType.comm_info_request: RunMode.direct,
    MsgType.connect_request: RunMode.direct,
    MsgType.execute_request: RunMode.queue,
    MsgType.complete_request: RunMode.thread,
    MsgType.is_complete_request: RunMode.thread,
    MsgType.inspect_request: RunMode.thread,
    MsgType.history_request: RunMode.thread,
    MsgType.comm_open: RunMode.direct,
    MsgType.comm_msg: RunMode.queue,
    MsgType.comm_close: RunMode.direct,
    MsgType.interrupt_request: RunMode.direct,
    MsgType.shutdown_request: RunMode.direct,
    MsgType.debug_request: RunMode.queue,
    MsgType.create_subshell_request: RunMode.thread,
    MsgType.delete_subshell_request: RunMode.thread,
    MsgType.list_subshell_request: RunMode.direct,
    MsgType.usage_request: RunMode.queue,
}
"""The run mode of every message type, where neither the cell nor the profile says otherwise."""

_NOT_ON_SHELL: Final = frozenset(
    MsgType(f"{name}_request")
    for name in ("shutdown", "debug", "create_subshell", "delete_subshell", "list_subshell", "usage")
)
"""Refused on shell with an error reply. (`interrupt_request` belongs on control; on shell it is served too.)"""

_MODES: Final[Mapping[str, RunMode]] = {
    text: mode for mode in RunMode for text in (mode.value, f"# {mode.value}", f"RunMode.{mode.value}")
}


class RunModeError(SetupError):
    """A run mode in the settings is wrong."""


class ConcurrencyTable(TypedDict):
    """Columns for `pandas.DataFrame`: a row for each channel and message type."""

    SocketID: list[SocketID]
    MsgType: list[MsgType]
    RunMode: list[RunMode | None]


def as_run_mode(text: str) -> RunMode | None:
    """The run mode that `text` says by name (``task``), as a comment (``# task``) or as ``RunMode.task``."""
    return _MODES.get(str.__str__(text))


def cell_override(code: str) -> RunMode | None:
    """The run mode that the first line of a cell that is not empty says: ``# task``, ``##task`` or ``RunMode.task``."""
    line = code.lstrip()[:40].partition("\n")[0].strip()
    if line.startswith("#"):
        return _MODES.get(line.lstrip("#").strip())
    return _MODES.get(line) if line.startswith("RunMode.") else None


class RunModes:
    """The run modes of a kernel: the table under the overrides of its profile.

    Args:
        overrides: Message type → run mode, for shell; ``shell`` or ``control`` → such a mapping, for that channel.

    Raises:
        RunModeError: An override names no message type, no run mode, or a message type where it is not allowed.
    """

    def __init__(self, overrides: Mapping[str, Mapping[str, str] | str] | None = None) -> None:
        self._overrides: dict[tuple[SocketID, str], RunMode] = {}
        for key, value in (overrides or {}).items():
            if not isinstance(value, Mapping):
                self._override(SocketID.shell, key, value, f"run_modes.{key}")
                continue
            if key not in (SocketID.shell.value, SocketID.control.value):
                raise RunModeError(f"run_modes.{key}: {key!r} is not one of shell, control")
            for msg_type, mode in value.items():
                self._override(SocketID(key), msg_type, mode, f"run_modes.{key}.{msg_type}")

    def _override(self, socket_id: SocketID, msg_type: str, mode: str, where: str) -> None:
        if msg_type not in DEFAULTS:
            raise RunModeError(f"{where}: {msg_type!r} is not one of {', '.join(DEFAULTS)}")
        if not self.allowed(socket_id, msg_type):
            raise RunModeError(f"{where}: {msg_type} is not allowed on {socket_id.value}")
        run_mode = as_run_mode(mode) if isinstance(mode, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if run_mode is None:
            raise RunModeError(f"{where}: {mode!r} is not one of {', '.join(mode.value for mode in RunMode)}")
        self._overrides[socket_id, MsgType(msg_type)] = run_mode

    @staticmethod
    def allowed(socket_id: SocketID, msg_type: str) -> bool:
        """Whether a message of that type may come on that channel."""
        if socket_id is SocketID.control:
            return msg_type in DEFAULTS
        return socket_id is SocketID.shell and msg_type in DEFAULTS and msg_type not in _NOT_ON_SHELL

    def get(self, msg_type: str, *, socket_id: SocketID = SocketID.shell, job: Job[Any] | None = None) -> RunMode:
        """How a message is run.

        Args:
            msg_type: Its type.
            socket_id: The channel it came on.
            job: The message itself: an `execute_request` on shell may say how it wants to be run.

        Raises:
            TypeError: The kernel handles no such message type.
        """
        if msg_type not in DEFAULTS:
            raise TypeError(f"unknown message type {str.__str__(msg_type)!r}")
        is_cell = msg_type == MsgType.execute_request and socket_id is SocketID.shell
        if is_cell and job is not None and (mode := _of_cell(job)) is not None:
            return mode
        if (mode := self._overrides.get((socket_id, msg_type))) is not None:
            return mode
        if is_cell and job is not None and _content(job).get("silent") is True:
            return RunMode.task
        return DEFAULTS[msg_type]

    def table(
        self, socket_ids: Iterable[SocketID] | None = None, msg_types: Iterable[MsgType] | None = None
    ) -> ConcurrencyTable:
        """The run mode by channel and message type; None where the message is not allowed."""
        columns: ConcurrencyTable = {"SocketID": [], "MsgType": [], "RunMode": []}
        types = [*(MsgType if msg_types is None else msg_types)]
        for socket_id in (SocketID.shell, SocketID.control) if socket_ids is None else socket_ids:
            for msg_type in types:
                columns["SocketID"].append(socket_id)
                columns["MsgType"].append(msg_type)
                mode = self.get(msg_type, socket_id=socket_id) if self.allowed(socket_id, msg_type) else None
                columns["RunMode"].append(mode)
        return columns


def all_concurrency_run_modes(
    socket_ids: Iterable[SocketID] | None = None,
    msg_types: Iterable[MsgType] | None = None,
    modes: RunModes | None = None,
) -> ConcurrencyTable:
    """The columns `SocketID`, `MsgType` and `RunMode`, of the table or of `modes`, ready for `pandas.DataFrame`."""
    return (RunModes() if modes is None else modes).table(socket_ids, msg_types)


def _content(job: Job[Any]) -> Mapping[str, Any]:
    """The content, which has not been checked when the run mode is asked for."""
    content = job["msg"]["content"]
    return content if isinstance(content, dict) else {}


def _of_cell(job: Job[Any]) -> RunMode | None:
    """What the cell itself says: its first line, else the first tag that is a run mode."""
    code = _content(job).get("code")
    if isinstance(code, str) and (mode := cell_override(code)) is not None:
        return mode
    tags = job["msg"]["metadata"].get("tags")
    if not isinstance(tags, list):
        return None
    found = (as_run_mode(tag) for tag in tags if isinstance(tag, str))
    return next((mode for mode in found if mode is not None), None)
