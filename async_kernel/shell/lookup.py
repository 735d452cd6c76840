"""Requests about code that do not run it: completion, inspection, history, is it complete.

They are answered in worker threads while a cell runs, so nothing here may touch what belongs to the running cell.
"""

from __future__ import annotations

import builtins
import keyword
import threading
import warnings
from collections import ChainMap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from IPython.utils.tokenutil import token_at_cursor
from traitlets.utils.importstring import import_item

from async_kernel.shell.completion import describe, live_name
from async_kernel.typing import Content

_HISTORY: Final[dict[str, tuple[str, tuple[str, ...], dict[str, Any]]]] = {
    "tail": ("get_tail", ("n",), {"include_latest": True}),
    "range": ("get_range", ("session", "start", "stop"), {}),
    "search": ("search", ("pattern", "n", "unique"), {}),
}
"What answers a request for history, which of its fields that takes, and what it is told besides."

_VAGUE: Final = ("attribute", "variable")
"What IPython calls whatever it has found without jedi."

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell
else:
    # Each subclass of a class with traits costs about a millisecond when it is made: the shell is made of plain parts.
    InteractiveShell = object

__all__ = ["Lookup"]

EXPERIMENTAL_KEY = "_jupyter_types_experimental"
"Where frontends look for the types of completions (a convention of IPython and JupyterLab)."


class Lookup(InteractiveShell):
    """The part of the shell that looks things up. What it needs is imported by the first request that needs it."""

    completer: Any
    _completer: Any = None
    _inspector: Any = None

    def __init__(self, **traits: Any) -> None:
        # IPython's completer and inspector keep state while they work.
        self.completer_lock = threading.RLock()
        self._inspector_lock = threading.RLock()
        super().__init__(**traits)

    def init_completer(self) -> None:
        """Nothing yet: see `Completer`."""

    @property
    def Completer(self) -> Any:  # IPython's name
        """IPython's completer."""
        with self.completer_lock:
            if self._completer is None:
                super().init_completer()
                if self.completer == "ipython":
                    cast("Any", self._completer).use_jedi = False
            return self._completer

    @Completer.setter
    def Completer(self, value: Any) -> None:
        self._completer = value

    @property
    def inspector(self) -> Any:
        """IPython's inspector."""
        with self._inspector_lock:
            if self._inspector is None:
                # A string until here: IPython's own trait imports the class when the shell is made.
                inspector_class: Any = self.inspector_class
                if isinstance(inspector_class, str):
                    inspector_class = import_item(inspector_class)
                self._inspector = inspector_class(
                    theme_name=self.colors, str_detail_level=self.object_info_string_level, parent=self
                )
            return self._inspector

    @inspector.setter
    def inspector(self, value: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] # made when needed
        self._inspector = value

    async def do_complete_request(self, code: str, cursor_pos: int | None = None) -> Content:
        """The content of a `complete_reply`."""
        if cursor_pos is None:
            cursor_pos = len(code)
        found = self._completions(code, cursor_pos) if self.completer != "off" else []
        return {
            "status": "ok",
            "matches": [each.text for each in found],
            "cursor_start": found[0].start if found else cursor_pos,
            "cursor_end": found[0].end if found else cursor_pos,
            "metadata": {
                EXPERIMENTAL_KEY: [
                    {name: getattr(each, name) for name in ("start", "end", "text", "type", "signature")}
                    for each in found
                ]
            },
        }

    def _completions(self, code: str, cursor_pos: int) -> list[Any]:
        with self.completer_lock:
            completer = self.Completer
            from IPython.core.completer import ProvisionalCompleterWarning, rectify_completions

            for ask in (self._live_completions, completer.completions):
                try:
                    found = list(rectify_completions(code, ask(code, cursor_pos)))
                except ProvisionalCompleterWarning:
                    # IPython makes errors of these warnings. Its own way around replaces all the filters for a while,
                    # those that a running cell sets meanwhile included; one more filter does not hurt anybody.
                    warnings.filterwarnings("ignore", category=ProvisionalCompleterWarning)
                    found = list(rectify_completions(code, ask(code, cursor_pos)))
                if found:
                    return found
            return []

    def _live_completions(self, code: str, cursor_pos: int) -> Iterable[Any]:
        """What the objects there are complete without jedi; nothing where jedi may know more."""
        completer = self.Completer
        namespaces = (completer.namespace, completer.global_namespace or {})
        name = completer.use_jedi and live_name(
            code, cursor_pos, frozenset().union(*namespaces, dir(builtins), keyword.kwlist)
        )
        if not name:
            return []
        completer.use_jedi = False
        try:
            found = [_without_dot(each) for each in completer.completions(code, cursor_pos)]
        finally:
            completer.use_jedi = True
        described = describe(name, {each.text for each in found}, ChainMap(*namespaces))
        for each in found:
            if each.type in _VAGUE:
                each.type, each.signature = described[each.text]
        return found

    async def is_complete_request(self, code: str) -> Content:
        """The content of an `is_complete_reply`."""
        try:
            status, indent = self.check_complete(code)
        except (RecursionError, MemoryError):  # Of a compiler that the code nests too deeply for.
            return {"status": "unknown"}
        return {"status": status, "indent": indent} if status == "incomplete" else {"status": status}

    async def inspect_request(
        self, code: str, cursor_pos: int | None = None, detail_level: int = 0, omit_sections: Iterable[str] = ()
    ) -> Content:
        """The content of an `inspect_reply`."""
        name = token_at_cursor(code, len(code) if cursor_pos is None else cursor_pos)
        try:
            with self._inspector_lock:
                data: Content = self.object_inspect_mime(name, detail_level, omit_sections)
        except KeyError:
            return {"status": "ok", "found": False, "data": {}, "metadata": {}}
        if not self.enable_html_pager:
            data.pop("text/html", None)
        return {"status": "ok", "found": True, "data": data, "metadata": {}}

    async def history_request(
        self, hist_access_type: str = "tail", output: bool = False, raw: bool = True, **fields: Any
    ) -> Content:
        """The content of a `history_reply`.

        Args:
            hist_access_type: `tail`, `range` or `search`.
            output: Whether the outputs come along.
            raw: As the user wrote it, else as Python.
            fields: `session`, `start` and `stop` of a range, `n` of a tail or search, `pattern` and `unique`.

        Raises:
            ValueError: There is no such `hist_access_type`.
        """
        if hist_access_type not in _HISTORY:
            raise ValueError(
                f"history_request: hist_access_type: expected one of {', '.join(_HISTORY)}, got {hist_access_type!r}"
            )
        method, names, fixed = _HISTORY[hist_access_type]
        given = {name: fields[name] for name in names if fields.get(name) is not None}
        manager: Any = self.history_manager
        entries = list(getattr(manager, method)(raw=raw, output=output, **fixed, **given))
        # IPython says 0 for this session where it reads it from memory; a client can't tell which that is.
        return {
            "status": "ok",
            "history": [(session or manager.session_number, *entry) for session, *entry in entries],
        }


def _without_dot(found: Any) -> Any:
    """A completion of an attribute as jedi gives it; IPython's own begins with the dot."""
    if found.type == "attribute" and found.text.startswith("."):
        found.start, found.text = found.start + 1, found.text[1:]
    return found
