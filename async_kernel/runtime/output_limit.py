"""`output_limit`: how much a cell may print and display; the rest is cut, and the cell says so."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from async_kernel.protocol.wire import parent_header
from async_kernel.typing import Content

__all__ = ["OutputLimit"]

LIMITED: Final = frozenset({"stream", "display_data", "update_display_data", "execute_result"})
"""What counts. An error never does: why a cell has failed must not be cut. Messages of comms are no output."""
REMEMBERED: Final = 1000
"Cells whose output is counted: those that have printed last."

Message = tuple[str, Content]
"Type and content."


class _Cell:
    """What one cell has published, in bytes."""

    __slots__ = ("cut", "told", "used")

    def __init__(self) -> None:
        self.used = 0
        self.cut = 0
        self.told = 0
        "How much of it the cell says."


class OutputLimit:
    """Counts for each request what it publishes, also by its tasks and threads, and after it has ended.

    Args:
        limit: Bytes for each request.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._cells: OrderedDict[str, _Cell] = OrderedDict()
        self._lock = threading.RLock()  # A finalizer may display something while it is held.

    def admit(
        self, msg_type: str, content: Content, parent: Any, extra: int = 0
    ) -> tuple[Content | None, Sequence[Message]]:
        """What to publish of a message: its content, or what fits of it (None: nothing); and after it, as a rule, none.

        Args:
            msg_type: Its type.
            content: Its content.
            parent: The job, message or header of the request that it belongs to.
            extra: Bytes that it has beside its content.
        """
        if msg_type not in LIMITED or (msg_id := parent_header(parent).get("msg_id")) is None:
            return content, ()
        with self._lock:
            cell = self._cells.setdefault(msg_id, _Cell())
            self._cells.move_to_end(msg_id)
            while len(self._cells) > REMEMBERED:
                self._cells.popitem(last=False)
            room = max(0, self._limit - cell.used)
            # Buffers belong to all of a display; a part of it would show nothing.
            shown, used, cut = _fitted(msg_type, content, room - extra if room >= extra else -1)
            cell.used += used and used + extra
            cell.cut += cut and cut + (0 if shown else extra)
            # Not after every message that is cut: that would be a flood of its own.
            return shown, self._notice(msg_id, cell) if cell.cut > 2 * cell.told else ()

    def settle(self, parent: Any) -> Sequence[Message]:
        """What to publish when a request ends, so that its notice says how much was cut until then."""
        msg_id = parent_header(parent).get("msg_id", "")
        with self._lock:
            cell = self._cells.get(msg_id)
            return self._notice(msg_id, cell) if cell is not None and cell.cut > cell.told else ()

    def _notice(self, msg_id: str, cell: _Cell) -> Sequence[Message]:
        """One display for each cell: the first message makes it, later ones change its text."""
        msg_type = "update_display_data" if cell.told else "display_data"
        cell.told = cell.cut
        text = f"[async_kernel: output cut: {cell.cut:,} bytes are missing here; output_limit is {self._limit:,} bytes]"
        transient = {"display_id": f"async_kernel.output_limit.{msg_id}"}
        return [(msg_type, {"data": {"text/plain": text}, "metadata": {}, "transient": transient})]


def _fitted(msg_type: str, content: Content, room: int) -> tuple[Content | None, int, int]:
    """What of the content fits into `room` bytes (None: nothing), the bytes of that, and of the rest."""
    if msg_type == "stream":
        text, used, cut = _head(content["text"], max(0, room))
        return ({**content, "text": text} if text or not cut else None), used, cut
    data: Mapping[str, Any] = content.get("data", {})
    sizes = {mime: _size(value) for mime, value in data.items()}
    total = sum(sizes.values())
    if total <= room:
        return content, total, 0
    kept: dict[str, Any] = {}
    left = room
    if isinstance(plain := data.get("text/plain"), str):  # The one that can be read in part.
        text, used, _ = _head(plain, max(0, left))
        kept, left = ({"text/plain": text}, left - used) if text else (kept, left)
    for mime, size in sorted(sizes.items(), key=lambda item: item[1]):
        if mime not in kept and size <= left:
            kept[mime], left = data[mime], left - size
    if not kept:
        return None, 0, total
    metadata = {key: value for key, value in content.get("metadata", {}).items() if key in kept or key not in data}
    return {**content, "data": kept, "metadata": metadata}, room - left, total - (room - left)


def _head(text: str, room: int) -> tuple[str, int, int]:
    """The beginning of `text` that fits into `room` bytes, its bytes, and those of the rest."""
    if len(text) <= room and text.isascii():
        return text, len(text), 0
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= room:
        return text, len(encoded), 0
    head = encoded[:room].decode("utf-8", "ignore")  # Not half a character.
    used = len(head.encode("utf-8"))
    return head, used, len(encoded) - used


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    return len(value) if isinstance(value, bytes) else len(repr(value))
