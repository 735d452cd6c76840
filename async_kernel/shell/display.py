"""Values and displays of the cells become messages."""

from __future__ import annotations

import threading
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import StdinNotImplementedError
from IPython.core.payload import PayloadManager
from traitlets import Any as AnyTrait

from async_kernel.interfaces import Publisher
from async_kernel.scheduling.context import current_job
from async_kernel.shell.outstream import Output
from async_kernel.typing import Content

__all__ = ["AsyncDisplayHook", "AsyncDisplayPublisher", "Hook", "StdinNotImplementedError"]

Hook = Callable[[dict[str, Any]], "dict[str, Any] | None"]
"""Gets a message and returns the message to publish, or None where there is nothing left to publish."""


def encode_bytes(data: dict[str, Any]) -> dict[str, Any]:
    """A mime bundle with its bytes in base64, as frontends expect images."""
    if not any(isinstance(value, bytes | bytearray | memoryview) for value in data.values()):
        return data
    return {
        mime: b2a_base64(value, newline=False).decode("ascii")
        if isinstance(value, bytes | bytearray | memoryview)
        else value
        for mime, value in data.items()
    }


class _Hooks(threading.local):
    def __init__(self) -> None:
        self.hooks: list[Hook] = []


class Hooked:
    """Publishes after the hooks that were registered in the thread have seen the message."""

    def __init__(self) -> None:
        self._local = _Hooks()

    def register_hook(self, hook: Hook) -> None:
        """Let `hook` see every message that this thread displays, and change it, or (returning None) keep it."""
        self._local.hooks.append(hook)

    def unregister_hook(self, hook: Hook) -> bool:
        """Remove `hook`; False where it was not registered in this thread."""
        try:
            self._local.hooks.remove(hook)
        except ValueError:
            return False
        return True

    def send(self, publish: Publisher, output: Output, msg_type: str, content: Content, **options: Any) -> None:
        """Publish, after the text that was written before."""
        output.flush()
        if not self._local.hooks:
            publish(msg_type, content, **options)
            return
        job = current_job.get()
        message: dict[str, Any] | None = {
            "header": {"msg_type": msg_type},
            "msg_type": msg_type,
            "parent_header": job["msg"]["header"] if job else {},
            "metadata": options.pop("metadata", None) or {},
            "content": content,
            "buffers": options.pop("buffers", None) or [],
        }
        for hook in tuple(self._local.hooks):
            message = hook(message)
            if message is None:
                return
        publish(
            message["header"]["msg_type"],
            message["content"],
            metadata=message["metadata"],
            buffers=message["buffers"],
            **options,
        )


class AsyncDisplayHook(Hooked, DisplayHook):
    """Publishes the value of a cell as `execute_result`."""

    shell: Any  # pyright: ignore[reportIncompatibleVariableOverride] # IPython's may be None

    def __init__(self, shell: Any = None, cache_size: int = 1000, **kwargs: Any) -> None:
        Hooked.__init__(self)
        DisplayHook.__init__(self, shell=shell, cache_size=cache_size, **kwargs)

    @property
    def prompt_count(self) -> int:
        """The execution count of the running cell; several may run at once."""
        cell = self.shell.running_cell()
        return self.shell.execution_count - 1 if cell is None else cell.prompt_count

    def quiet(self) -> bool:
        """Whether the running cell ends with a semicolon."""
        cell = self.shell.running_cell()
        return cell is not None and cell.quiet

    def fill_exec_result(self, result: object) -> None:
        """Note the value in the result of the running cell."""
        if (cell := self.shell.running_cell()) is not None:
            cell.result.result = result

    def __call__(self, result: Any = None) -> None:
        """Show the value of a cell. It is the hook of the whole process: a subshell's cell has a hook of its own."""
        hook = self.shell.get_ipython().displayhook
        if hook is self:
            super().__call__(result)
        else:
            hook(result)

    def check_for_underscore(self) -> None:
        """Make room for another's `_`, where the names are this shell's."""
        if self.shell.owns_names:
            super().check_for_underscore()

    def update_user_ns(self, result: Any) -> None:
        """Keep the value as `_`, `_1` and in `Out`; a subshell leaves those to the main shell, whose names it uses."""
        if self.shell.owns_names:
            super().update_user_ns(result)
        elif self.do_full_cache:
            values = self.shell.history_manager.output_hist
            values[self.prompt_count] = result
            if len(values) > self.cache_size:
                del values[min(values)]

    def start_displayhook(self) -> None:
        self._is_active = True
        if (cell := self.shell.running_cell()) is not None:
            cell.displaying = True

    def write_output_prompt(self) -> None:
        """Nothing: the prompt is the frontend's."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        """Publish the formatted value."""
        content = {"execution_count": self.prompt_count, "data": encode_bytes(format_dict), "metadata": md_dict or {}}
        self.send(self.shell.publish, self.shell.output, "execute_result", content)

    def finish_displayhook(self) -> None:
        self._is_active = False
        if (cell := self.shell.running_cell()) is not None:
            cell.displaying = False

    def log_output(self, format_dict: dict[str, Any]) -> None:
        """Note the output of a cell that is in the history, for `%history -o` and `%notebook`."""
        cell = self.shell.running_cell()
        if cell is not None and not cell.store_history:
            return  # Others have no number of their own: under that of the next cell, they would be kept for ever.
        history = self.shell.history_manager
        history.outputs.add(self.prompt_count, format_dict)
        if (text := format_dict.get("text/plain")) is not None:
            history.output_hist_reprs[self.prompt_count] = text
            if self.shell.transcript is not None and self.shell.transcript.log_output:
                self.shell.transcript.log_write(text, "output")


class AsyncDisplayPublisher(Hooked, DisplayPublisher):
    """Publishes displays: `display_data`, `update_display_data` and `clear_output`."""

    shell: Any

    def __init__(self, shell: Any = None, *args: Any, **kwargs: Any) -> None:
        Hooked.__init__(self)
        DisplayPublisher.__init__(self, shell, *args, **kwargs)

    def _setup_execution_tracking(self) -> None:
        """Nothing: displays are not stored, so it does not matter which cell they would be stored with."""

    def publish(  # pyright: ignore[reportIncompatibleMethodOverride] # `source` is deprecated in IPython
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        buffers: list[Any] | None = None,
        **_kwargs: Any,
    ) -> None:
        """Publish a display.

        Args:
            data: A mime bundle; bytes are sent in base64.
            metadata: By mime type, or for the whole display.
            transient: What is not stored in a notebook: `display_id`.
            update: Replace the displays of the same `display_id` instead of adding one.
            buffers: Binary data sent along.

        Raises:
            TypeError: `data` or `metadata` is not a dict.
        """
        self._validate_data(data, metadata)
        content = {"data": encode_bytes(data), "metadata": metadata or {}, "transient": transient or {}}
        options = {"buffers": buffers} if buffers else {}
        msg_type = "update_display_data" if update else "display_data"
        self.send(self.shell.publish, self.shell.output, msg_type, content, **options)

    def clear_output(self, wait: bool = False) -> None:
        """Clear the output of the cell, at once or (`wait`) when there is something new to show."""
        self.send(self.shell.publish, self.shell.output, "clear_output", {"wait": wait})


class CellPayloads(PayloadManager):
    """The payloads of the running cell; several may run at once."""

    shell = AnyTrait()

    def _payloads(self) -> list[Any]:
        cell = self.shell.running_cell()
        return self._payload if cell is None else cell.payload

    def write_payload(self, data: dict[str, Any], single: bool = True) -> None:
        """Add a payload; with `single`, in the place of an earlier one of the same source.

        Raises:
            TypeError: `data` is not a dict.
        """
        if not isinstance(data, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"payload: expected a dict, got {data!r}")
        payloads = self._payloads()
        if single and "source" in data:
            payloads[:] = [each for each in payloads if each.get("source") != data["source"]]
        payloads.append(data)

    def read_payload(self) -> list[Any]:
        """The payloads so far."""
        return self._payloads()

    def clear_payload(self) -> None:
        """Forget them."""
        self._payloads().clear()
