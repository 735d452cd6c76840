"""What is made from the code when the site is built: the pages of the API and the settings, the table of run modes."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from async_kernel.config.schema import SCHEMA
from async_kernel.protocol.run_modes import all_concurrency_run_modes
from async_kernel.typing import SocketID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

API = {
    "async_kernel.kernel": "Kernel",
    "async_kernel.caller": "Caller",
    "async_kernel.pending": "Pending",
    "async_kernel.asyncshell": "Shells",
    "async_kernel.comm": "Comms",
    "async_kernel.utils": "Utilities",
    "async_kernel.kernelspec": "Kernelspecs",
    "async_kernel.typing": "Types",
    "async_kernel.errors": "Errors",
    "async_kernel.interfaces": "Interfaces",
}
"""The public modules, in the order of the site, with the titles of their pages."""

ELSEWHERE = {"async_kernel.asyncshell": "KernelInterruptError"}
"""Names that a module offers too, but that another page documents."""


def write_all(folder: Path) -> None:
    """Write every generated page below `folder`; a file that would not change is left alone."""
    pages = {"settings.md": settings_page(), "run_modes_table.md": run_modes_table(), **dict(api_pages())}
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    for path in folder.rglob("*.md"):
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()


def settings_page() -> str:
    """Every key of a profile, from the one table that also checks profiles."""
    rows = [
        (
            f"`{each.key}`",
            each.kind.expected,
            f"`{default_text(each.default)}`",
            each.doc + ("" if each.effective else " *Not in effect yet.*"),
        )
        for each in SCHEMA.values()
    ]
    return "\n".join(
        [
            "# Settings\n",
            "The keys of a profile. This page is made from the table that checks profiles.\n",
            *markdown_table(("key", "what it takes", "default", "meaning"), rows),
            "",
        ]
    )


def default_text(value: object) -> str:
    """A default as it would be written in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value)


def run_modes_table() -> str:
    """What the page on run modes includes: the mode of each message on each channel, as the kernel goes by it."""
    columns = all_concurrency_run_modes()
    by_message: dict[str, dict[SocketID, str]] = {}
    for socket_id, msg_type, mode in zip(columns["SocketID"], columns["MsgType"], columns["RunMode"], strict=True):
        by_message.setdefault(msg_type.value, {})[socket_id] = mode.value if mode else "-"
    rows = [(f"`{name}`", modes[SocketID.shell], modes[SocketID.control]) for name, modes in by_message.items()]
    return "\n".join([*markdown_table(("request", "on shell", "on control"), rows), ""])


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def api_pages() -> Iterable[tuple[str, str]]:
    """One page for each public module, from its docstrings, and their table of contents."""
    there = {name: title for name, title in API.items() if importlib.util.find_spec(name)}
    for name, title in there.items():
        elsewhere = f"   :exclude-members: {ELSEWHERE[name]}\n" if name in ELSEWHERE else ""
        directive = f"```{{eval-rst}}\n.. automodule:: {name}\n{elsewhere}```\n"
        yield f"api/{name.rpartition('.')[2]}.md", f"# {title}\n\n`{name}`\n\n{directive}"
    entries = "\n".join(name.rpartition(".")[2] for name in there)
    yield "api/index.md", f"# API\n\n```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n"
