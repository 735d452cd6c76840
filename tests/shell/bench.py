"""A shell without a kernel: what it publishes is recorded."""

from __future__ import annotations

import sys
from typing import Any

from async_kernel.scheduling.context import Diverted, addressee, current_job
from async_kernel.shell.interactive import AsyncInteractiveShell
from async_kernel.shell.outstream import Output
from async_kernel.typing import Content, Job, SocketID


class Recorder:
    """A publisher that remembers."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Content, Any]] = []

    def __call__(
        self,
        msg_or_type: Any,
        content: Any = None,
        metadata: Any = None,
        parent: Any = None,
        ident: Any = None,
        buffers: Any = None,
    ) -> None:
        to = parent or addressee.get()
        if not isinstance(to, Diverted) or not to.keep(msg_or_type, content):
            self.messages.append((msg_or_type, content, parent))

    def of(self, msg_type: str) -> list[Content]:
        """The contents of the messages of a type."""
        return [content for kind, content, _ in self.messages if kind == msg_type]

    def text(self, name: str | None = None, parent: Any = ...) -> str:
        """What was printed: to one of the streams, by one of the cells."""
        return "".join(
            content["text"]
            for kind, content, of in self.messages
            if kind == "stream" and name in (None, content["name"]) and (parent is ... or of is parent)
        )

    @property
    def types(self) -> list[str]:
        return [kind for kind, _, _ in self.messages]


def make_job(name: str = "job") -> Job[Any]:
    """A request as the kernel hands it down."""
    header: Any = {
        "msg_id": name,
        "session": "s",
        "username": "u",
        "date": "",
        "msg_type": "execute_request",
        "version": "",
    }
    msg: Any = {"header": header, "parent_header": {}, "metadata": {}, "content": {}, "buffers": []}
    return {"msg": msg, "socket_id": SocketID.shell, "ident": [], "received_time": 0.0}


class Bench:
    """A shell, its output, and what it published."""

    def __init__(self, **options: Any) -> None:
        self.published = Recorder()
        self.output = Output(self.published, parent=lambda: addressee.get() or current_job.get())
        self.exits: list[bool] = []
        self.resets: list[bool] = []
        self.shell: AsyncInteractiveShell = AsyncInteractiveShell.instance(
            publish=self.published,
            output=self.output,
            exit_now=lambda: self.exits.append(True),
            on_reset=lambda: self.resets.append(True),
            connection_info=lambda: {"ip": "127.0.0.1", "key": b"k", "connection_file": "/run/kernel-1.json"},
            **{"history": "memory", **options},
        )

    async def run(self, code: str, **options: Any) -> Content:
        """Run a cell as a request of its own; what was published before is forgotten."""
        self.published.messages.clear()
        token = current_job.set(options.pop("job", None) or make_job())
        streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.output.stdout, self.output.stderr
        try:
            return await self.shell.execute_request(code, **options)
        finally:
            sys.stdout, sys.stderr = streams
            current_job.reset(token)

    def close(self) -> None:
        """Leave the process as it was."""
        self.shell.close()
        self.output.close()
