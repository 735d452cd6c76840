"""THE table of settings: every key of a profile, once. Whatever else must know them is derived from here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from async_kernel.config.kinds import VALUE, Bool, Choice, Free, Kind, ListOf, Number, PathText, Size, Text, whole
from async_kernel.config.problems import Mark, Problems
from async_kernel.config.special import Environment, Factory, RunModeTable, StartupEntry
from async_kernel.config.tree import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BACKEND_OPTIONS", "PLACEHOLDERS", "SCHEMA", "Setting", "key_of"]

PLACEHOLDERS: Final = ("profile", "env", "python", "backend", "version")
"""What may stand in braces in a display name."""

BACKEND_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "asyncio": ("use_uvloop", "debug"),
    "trio": ("restrict_keyboard_interrupt_to_checkpoints", "strict_exception_groups"),
}
"""The options of `anyio.run` that can be said in YAML, by backend."""


class Setting(NamedTuple):
    """One key of a profile."""

    key: str
    kind: Kind
    default: Any
    doc: str
    trait: str = ""
    "The dotted attribute of the kernel that it sets; empty where the launcher or the kernelspec uses it."
    option: bool = False
    "Whether `run` has an option of that name."
    in_files_only: bool = False
    "True: neither a variable nor an option can set it."

    @property
    def written_default(self) -> Any:
        """The default as a profile can say it: None (null) where its kind does not take the value itself."""
        problems: Problems = []
        self.kind.check(Node(self.default, Mark("default")), self.key, problems)
        return None if problems else self.default


def _placeholders(text: str) -> str:
    unknown = [name for name in re.findall(r"\{([^{}]*)\}", text) if name not in PLACEHOLDERS]
    known = " ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    return f"unknown placeholder {{{unknown[0]}}} (known: {known})" if unknown else ""


def key_of(trait: str) -> str:
    """The key that sets the dotted attribute `trait` of the kernel; empty where none does."""
    return next((setting.key for setting in SCHEMA.values() if trait and setting.trait == trait), "")


def _attribute(name: str) -> str:
    if owner := key_of(name):
        return f"{name!r} is set by the key {owner!r}"
    return "" if all(map(str.isidentifier, name.split("."))) else f"{name!r} is not a dotted attribute of the kernel"


def _attribute_form() -> Mapping[str, Any]:
    """What `_attribute` says, as a JSON Schema."""
    owned = [setting.trait for setting in SCHEMA.values() if setting.trait]
    return {"propertyNames": {"pattern": whole(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"), "not": {"enum": owned}}}


def _options_form() -> Mapping[str, Any]:
    """The options of any backend; which backend it is only shows when all layers are merged."""
    known = [name for names in BACKEND_OPTIONS.values() for name in names]
    return {"properties": dict.fromkeys(known, VALUE), "additionalProperties": {"type": "null"}}


_PLACEHOLDER_FORM = {"not": {"pattern": rf"\{{(?!(?:{'|'.join(PLACEHOLDERS)})\}})[^{{}}]*\}}"}}
_FACTORY = r"(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*|[^:\0]+\.py):[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_MODULE = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_PROFILES = ListOf(Text("the name or path of a profile", empty=False), "a profile or a list of profiles", single=True)

_TABLE = (
    Setting("extends", _PROFILES, [],
            "The profiles to inherit from, by name or path. Later ones win; own keys win over all.",
            in_files_only=True),
    Setting("description", Text(), "", "One line on what the profile is for."),
    Setting("display_name", Text(test=_placeholders, empty=False, form=_PLACEHOLDER_FORM), "Python ({profile})",
            "The name in the launcher; it may hold {profile} {env} {python} {backend} {version}."),
    Setting("backend", Choice("asyncio", "trio"), "asyncio", "The event loop that runs the cells.",
            "anyio_backend", True),
    Setting("backend_options", Free("a mapping of options", form=_options_form), {},
            "Options of the event loop, as anyio.run takes them.", "anyio_backend_options"),
    Setting("transport", Choice("tcp", "ipc"), "tcp", "How clients connect; ipc stays on this machine.",
            "transport", True),
    Setting("encryption", Choice("disabled", "auto", "required"), "auto",
            "CURVE on every channel: never, where the connection file has keys, or always (tcp).",
            "encryption", True),
    Setting("ip", Text("an IP address, a host name or *", r"[A-Za-z0-9._:%-]+|\*"), "127.0.0.1",
            "The address that the channels are bound to (tcp).", "ip", True),
    Setting("allow_unsigned", Bool(), False,
            "Start even where the connection file has no key: whoever reaches the ports can run code.",
            "allow_unsigned"),
    Setting("allow_network", Bool(), False,
            "Bind even every address of this machine, or one that others reach without encryption.",
            "allow_network"),
    Setting("quiet", Bool(), True, "False: what cells print is echoed to the terminal the kernel was started from.",
            "quiet", True),
    Setting("print_kernel_messages", Bool(), True, "Tell on stderr when the kernel starts, stops or meets an error.",
            "print_kernel_messages", True),
    Setting("run_modes", RunModeTable(), {}, "How requests are run: message type to queue, task, thread or direct.",
            "run_modes"),
    Setting("comms", Choice("shell", "subshell", "thread"), "shell",
            "Where handlers of comms run: the shell's event loop, a thread beside it, or workers.", "comms"),
    Setting("gui", Choice("none", "tk", "qt"), "none",
            "The GUI that the event loop runs in, so that its windows live while cells await and between them.",
            "gui", True),
    Setting("thread_output", Choice("creator", "latest", "log"), "creator", "Which cell gets the output of a thread.",
            "thread_output", True),
    Setting("capture_fds", Bool(), True, "What C code and child processes write goes to the cell too.", "capture_fds"),
    Setting("history", Choice("file", "memory", "off"), "file", "Where the history of the cells is kept.",
            "history", True),
    Setting("stdin", Choice("allow", "deny"), "allow", "Whether cells may ask the frontend for input.", "stdin", True),
    Setting("cell_timeout", Number(), 0.0, "Seconds after which a cell is cancelled; 0 is never.",
            "shell.timeout", True),
    Setting("output_limit", Size(), 0,
            "How much a cell may print, like 10MB; the rest is cut with a notice. 0: no limit.",
            "output_limit", True),
    Setting("subshell_namespace", Choice("shared", "isolated"), "shared", "Whose variables a subshell sees.",
            "subshell_namespace"),
    Setting("completer", Choice("jedi", "ipython", "off"), "jedi", "What completes code.", "completer", True),
    Setting("log_level", Choice("debug", "info", "warning", "error", "critical"), "warning",
            "The level of the kernel's own log.", "log_level", True),
    Setting("ipython_profile", Text("the name of an IPython profile", r"[^/\\\0]+"), "default",
            "The IPython profile whose startup files and configuration are used.", "ipython_profile", True),
    Setting("settings", Free("a mapping of dotted attributes", _attribute, depth=1, form=_attribute_form), {},
            "Any other attribute of the kernel, by its dotted path."),
    Setting("kernel_factory", Factory("module:name or file.py:name", _FACTORY), "",
            "What makes the kernel: an import path, or a function in a file beside the profile."),
    Setting("startup", ListOf(StartupEntry(), "a list of code or {file: path}"), [],
            "Code to run in the user namespace before the first cell.", "startup"),
    Setting("extensions", ListOf(Text("the name of an IPython extension", _MODULE), "a list of IPython extensions"), [],
            "IPython extensions to load.", "extensions"),
    Setting("env", Environment(), {}, "Environment variables: text, {set|prepend|append: …}, or null to unset."),
    Setting("python", PathText(), "", "The interpreter that runs the kernel (default: the one that installs it)."),
    Setting("logo", PathText(), "", "An image (SVG or PNG) for the launcher."),
    Setting("provisioner", Free("a mapping with a name", required=("name",), depth=1, keeps_null=True), {},
            "The kernel provisioner, copied to the kernelspec."),
)  # fmt: skip

SCHEMA: Final[Mapping[str, Setting]] = {setting.key: setting for setting in _TABLE}
"""Every setting by its key, in the order of the documentation."""
