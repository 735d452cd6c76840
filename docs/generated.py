"""What is made when the site is built: the pages of the API and the settings, tables of run modes and benchmarks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from async_kernel.config.kinds import ListOf
from async_kernel.config.schema import SCHEMA, Setting
from async_kernel.config.written import scalar
from async_kernel.protocol.run_modes import all_concurrency_run_modes
from async_kernel.typing import SocketID
from benchmarks.table import report

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SUMMARY = Path(__file__).parents[1] / "benchmarks" / "summary.json"

API = {
    "async_kernel.kernel": "Kernel",
    "async_kernel.caller": "Caller",
    "async_kernel.pending": "Pending",
    "async_kernel.asyncshell": "Shells",
    "async_kernel.comm": "Comms",
    "async_kernel.embedding": "Embedding",
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
    pages = {
        "settings.md": settings_page(),
        "run_modes_table.md": run_modes_table(),
        "benchmarks_report.md": report(json.loads(SUMMARY.read_text("utf-8"))) + "\n",
        **dict(api_pages()),
    }
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
    rows = [(f"[`{key}`](#{key})", f"`{default_text(each)}`", each.doc) for key, each in SCHEMA.items()]
    sections = (section(each) for each in SCHEMA.values())
    return "\n".join(
        [
            "# Settings\n",
            "The keys of a profile. This page is made from the table that checks profiles, and so is the JSON Schema",
            "that `async-kernel schema` prints.\n",
            *markdown_table(("key", "default", "meaning"), rows),
            "",
            *sections,
        ]
    )


def section(setting: Setting) -> str:
    """Everything about one key: what it takes, and every other way to set it."""
    ways = [f"`--set {setting.key}=…`", f"`ASYNC_KERNEL_{setting.key.upper()}`"]
    if setting.option:
        ways.insert(0, f"`--{setting.key.replace('_', '-')}`")
    facts = [("takes", setting.kind.expected), ("default", f"`{default_text(setting)}`")]
    if not setting.in_files_only:
        facts.append(("also set by", ", ".join(ways)))
    if setting.trait:
        facts.append(("attribute", f"`{setting.trait}`"))
    if isinstance(setting.kind, ListOf) and not setting.in_files_only:
        facts.append(("append", f"`{setting.key}+:` keeps what is inherited"))
    lines = [f"- {name}: {text}" for name, text in facts]
    return "\n".join([f"## {setting.key}\n", f"{setting.doc}\n", *lines, ""])


def default_text(setting: Setting) -> str:
    """A default as it is written in YAML."""
    return scalar(setting.written_default)


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
