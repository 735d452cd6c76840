"""How IPython's shell is made and unmade for a kernel."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from IPython.core import page
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magics._table import configured_script_magics
from IPython.core.prefilter import PrefilterManager
from IPython.utils import PyColorize

from async_kernel.shell.commands import Commands
from async_kernel.shell.display import CellPayloads
from async_kernel.shell.events import Events
from async_kernel.shell.formatting import quick_format
from async_kernel.shell.history import HistoryMode, KernelHistory
from async_kernel.shell.outstream import Output
from async_kernel.shell.process_state import ENVIRONMENT, ProcessState
from async_kernel.shell.startup import load_config, open_profile, remove_temporary, run_startup
from async_kernel.shell.tracebacks import Tracebacks

__all__ = ["KernelSetup"]

MAGICS: Final[Mapping[str, Mapping[Any, tuple[str, ...]]]] = {
    "magics:KernelMagics": {
        "line": ("connect_info", "callers", "jobs", "cancel", "gui", "edit", "less", "more", "man", "clear")
    },
    "subshell_magics:SubshellMagics": {"line_cell": ("subshell",)},
    "command_magics:CommandMagics": {"line": ("pip", "uv")},
    "command_magics:KernelScripts": {"line": ("killbgscripts",)},
    "timing_magics:TimingMagics": {"line_cell": ("time", "timeit"), "cell": ("capture",)},
    "loop_magics:LoopMagics": {"cell": ("thread", "asyncio", "trio")},
}
"""Where the kernel's own magics are, and those that are IPython's but can be awaited."""


class KernelSetup(Commands):
    """The part of the shell that sets IPython up. What no first cell needs is made later.

    Args:
        output: The stdout and stderr of the cells.
        history: `file`, `memory` or `off`.
        ipython_profile: The name of the IPython profile.
        traits: Of IPython's shell; `profile_dir`, `ipython_dir` and `config` among them.
    """

    def __init__(self, *, output: Output, history: HistoryMode, ipython_profile: str, **traits: Any) -> None:
        self._process_state = ProcessState()
        self._configurables: list[Any] = []
        self._open = False
        self.history_mode: HistoryMode = history
        self.output = output
        profile = traits.pop("profile_dir", None) or open_profile(traits.get("ipython_dir"), ipython_profile)
        config = traits.pop("config", None)
        config = load_config(profile) if config is None else config
        # Libraries know a kernel by this section.
        config.IPKernelApp.async_kernel = True
        folder = traits.pop("ipython_dir", None) or os.path.dirname(profile.location)
        super().__init__(profile_dir=profile, ipython_dir=folder, config=config, **traits)
        # For as long as the shell lives: cells that run side by side would take them from each other.
        self.builtin_trap.__enter__()
        self.display_trap.__enter__()
        self._open = True

    @property
    def configurables(self) -> list[Any]:
        """What `%config` configures."""
        if self._open:
            _ = self.Completer, self.prefilter_manager
        return self._configurables

    @configurables.setter
    def configurables(self, value: list[Any]) -> None:
        self._configurables = value

    @property
    def transcript(self) -> Any:
        """What `%logstart` logs to; None before it is used."""
        return self._logger

    def init_prefilter(self) -> None:
        """Nothing yet: see `prefilter_manager`."""

    def make_prefilter_manager(self) -> PrefilterManager:
        """The default of `prefilter_manager`."""
        manager = PrefilterManager(shell=self, parent=self)
        self._configurables.append(manager)
        return manager

    def prefilter(self, lines: str, continue_prompt: bool = False) -> str:
        """Transform lines by IPython's dynamic rules."""
        return self.prefilter_manager.prefilter_lines(lines, continue_prompt)  # pyright: ignore[reportOptionalMemberAccess]

    def prefilter_is_customized(self, stock_checkers: int) -> bool:
        """Whether somebody has added a transformer or a checker."""
        manager: Any = self._trait_values.get("prefilter_manager")
        return manager is not None and (bool(manager.transformers) or len(manager.checkers) != stock_checkers)

    def init_syntax_highlighting(self, changes: Any = None) -> None:
        """Tell everything that colours text about a new theme."""
        self.pycolorize = lambda source: PyColorize.Parser(theme_name=self.colors).format(source, "str")
        for each in (self._inspector, getattr(self, "InteractiveTB", None), getattr(self, "SyntaxTB", None)):
            if each is not None:
                each.set_theme_name(self.colors)
        self.refresh_style()

    def init_traceback_handlers(self, custom_exceptions: Any) -> None:
        """Show tracebacks from their first frame on: those that get here begin with the code of the cell."""
        super().init_traceback_handlers(custom_exceptions)
        self.InteractiveTB = Tracebacks(mode=self.xmode, theme_name=self.colors, tb_offset=0)

    def init_display_formatter(self) -> None:
        """Values of plain types take a short way to their mime bundle."""
        super().init_display_formatter()
        # On the instance: a subclass of a class with traits costs a millisecond when it is made.
        formatter: Any = self.display_formatter
        formatter.format = quick_format(formatter)

    def init_events(self) -> None:
        """Make what calls the callbacks of events."""
        super().init_events()
        events = Events(self, {})
        events.callbacks = self.events.callbacks
        self.events = events

    def init_environment(self) -> None:
        """Tell the programs that cells start about the frontend."""
        os.environ.update(ENVIRONMENT)
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")

    def init_history(self) -> None:
        """Set up the history; the database is opened when it is needed."""
        self.history_manager = KernelHistory(shell=self, mode=self.history_mode, parent=self)
        self._configurables.append(self.history_manager)

    def init_hooks(self) -> None:
        """Let the pager be the frontend's."""
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(self.page), 99)

    def page(self, content: str | dict[str, Any], start: int = 0, *_args: Any, **_kwargs: Any) -> None:
        """Show text, or a mime bundle, in the frontend's pager."""
        data = content if isinstance(content, dict) else {"text/plain": content}
        self.payload_manager.write_payload({"source": "page", "data": data, "start": max(0, start)})  # pyright: ignore[reportOptionalMemberAccess]

    def init_payload(self) -> None:
        """Keep payloads per cell."""
        self.payload_manager = CellPayloads(parent=self, shell=self)
        self._configurables.append(self.payload_manager)

    def init_magics(self) -> None:
        """Declare the kernel's magics; they are imported when they are used."""
        super().init_magics()
        for home, kinds in MAGICS.items():
            for kind, names in kinds.items():
                for name in names:
                    self.magics_manager.register_lazy(name, f"async_kernel.shell.{home}", kind)
        for name in (*configured_script_magics(self.config), "script"):
            self.magics_manager.register_lazy(name, "async_kernel.shell.command_magics:KernelScripts", "cell")

    def startup(self, extensions: Iterable[str] = (), code: Iterable[str | Path] = ()) -> None:
        """Load extensions and run startup files: IPython's, then those given. What fails is shown; the rest runs."""
        run_startup(self, extensions, code)
        self.output.flush()

    def close(self) -> None:
        """End the shell: write the history, and leave the process as it was before. Idempotent."""
        if not self._open:
            return
        self._open = False
        self.end_children()
        atexit.unregister(self.atexit_operations)
        self.display_trap.__exit__(None, None, None)
        self.builtin_trap.__exit__(None, None, None)
        history: Any = self.history_manager
        history.end_session()
        history.close()
        remove_temporary(cast("Any", self).profile_dir)
        self._atexit_once_called = True  # What it does otherwise is to empty the namespaces; they are released by now.
        self.atexit_operations()
        if getattr(InteractiveShell, "_instance", None) is self:
            self.clear_instance()
        self._process_state.restore()
