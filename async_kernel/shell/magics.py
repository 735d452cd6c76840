"""Magics that differ in a kernel: there is no terminal, and there is a connection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from IPython.core import page
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magics.code import CodeMagics, MacroToEdit
from IPython.utils import openpy

from async_kernel.scheduling.caller import Caller
from async_kernel.typing import Content

__all__ = ["KernelMagics"]


@magics_class
class KernelMagics(Magics):
    """The magics of the kernel."""

    shell: Any

    @line_magic
    def connect_info(self, _arg: str) -> None:
        """Print what other clients need to connect to this kernel."""
        if (connection_info := self.shell.connection_info) is None:
            raise UsageError("%connect_info: this shell has no connection")
        info = dict(connection_info())
        file = info.pop("connection_file", None)
        print(
            json.dumps(
                {name: value.decode() if isinstance(value, bytes) else value for name, value in info.items()}, indent=2
            )
        )
        print("\nPaste the above JSON into a file, and connect with:\n    $> jupyter <app> --existing <file>")
        if file is not None:
            print(f"or, if you are local, you can connect with just:\n    $> jupyter <app> --existing {file}")

    @line_magic
    def jobs(self, _arg: str) -> None:
        """List the cells and other requests that run and wait: how, since when and where."""
        if (jobs := self.shell.jobs) is None:
            raise UsageError("%jobs: this shell has no kernel")
        print(_table(jobs()))

    @line_magic
    def cancel(self, arg: str) -> None:
        """End a job that `%jobs` lists; what waits will not begin.

        Usage:
          %cancel NUMBER, or %cancel BEGINNING_OF_MSG_ID
        """
        if (cancel_job := self.shell.cancel_job) is None:
            raise UsageError("%cancel: this shell has no kernel")
        if not (name := arg.strip()):
            raise UsageError("%cancel: which one? Expected a number of %jobs, or the beginning of a msg_id")
        try:
            job = cancel_job(name)
        except LookupError as error:
            raise UsageError(f"%cancel: {error.args[0]}") from None
        print(f"cancelled job {job['number']}: {job['what']}")

    @line_magic
    def callers(self, _arg: str) -> None:
        """Print a table of the Callers: name, thread, backend, state, and how many calls have not ended."""
        rows = [("name", "thread", "backend", "state", "pending")]
        for each in sorted(Caller.all_callers(running_only=False), key=lambda caller: caller.name):
            thread = each.thread.name if each.thread is not None else ""
            rows.append((each.name, thread, each.backend.value, each.state.name, str(len(each.live))))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(map(str.ljust, row, widths)).rstrip())

    @line_magic
    def gui(self, arg: str) -> None:
        """Let the windows of a GUI live: `%gui tk` or `%gui qt`; `%gui` alone ends it."""
        self.shell.enable_gui(arg.strip() or None)

    @line_magic
    def edit(self, parameter_s: str = "", last_call: list[str] | None = None) -> None:
        """Ask the frontend to open an editor: on a file, on the definition of an object, or on text from the history.

        Usage:
          %edit [-r] [target]
        """
        options, args = self.parse_options(parameter_s, "prxn:")
        find_target: Any = vars(CodeMagics)["_find_edit_target"]
        try:
            filename, line, _ = find_target(self.shell, args, options, last_call or ["", ""])
        except MacroToEdit:
            raise UsageError("%edit: a macro can't be edited in a kernel") from None
        if filename is None:
            return
        payload = {"source": "edit_magic", "filename": str(Path(filename).resolve()), "line_number": line}
        self.shell.payload_manager.write_payload(payload)

    @line_magic
    def less(self, arg: str) -> None:
        """Show a file in the pager; Python is highlighted."""
        if not arg:
            raise UsageError("%less: the name of a file is missing")
        if arg.endswith(".py"):
            page.page(self.shell.pycolorize(openpy.read_py_file(arg, skip_encoding_cookie=False)))
        else:
            page.page(Path(arg).read_text(encoding="utf-8", errors="replace"))

    more = line_magic("more")(less)

    @line_magic
    def man(self, arg: str) -> None:
        """Show a manual page in the pager."""
        page.page(self.shell.getoutput(f"man {arg} | col -b", split=False))

    @line_magic
    def clear(self, _arg: str) -> None:
        """Clear the output of the cell."""
        self.shell.display_pub.clear_output()


_COLUMNS = ("job", "cell", "state", "mode", "since (UTC)", "for", "where", "msg_id", "code")


def _table(jobs: list[Content]) -> str:
    """What runs and waits, as lines of text."""
    rows = [_COLUMNS, *(_row(job) for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(job: Content) -> tuple[str, ...]:
    count, subshell = job["count"], job["subshell"]
    where = ", ".join(filter(None, (job["thread"], job["backend"], subshell and f"subshell {subshell}")))
    return (
        str(job["number"]),
        "" if count is None else f"[{count}]",
        job["state"],
        job["mode"],
        job["since"][11:23],
        f"{job['seconds']:.1f} s",
        where,
        job["msg_id"],
        job["what"][:60],
    )
