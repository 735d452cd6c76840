"""IPython's inspector, without the HTML that nobody gets. Imported by the first inspection."""

from __future__ import annotations

from functools import lru_cache
from types import BuiltinFunctionType, ModuleType
from typing import Any, Final

from IPython.core import oinspect

__all__ = ["Inspector"]

_CODE: Final = ("definition", "init_definition", "call_def", "source")
"What IPython colours twice: for the terminal, and for HTML at three times the cost."
_KEPT: Final = 256
_SHORT: Final = 1000


class Inspector(oinspect.Inspector):
    """IPython's inspector; code becomes HTML only where the shell's `enable_html_pager` is on.

    A help panel asks for the same object with every move of the cursor: the last signatures of built-in functions,
    which never change, and the last short texts that were coloured are kept.
    """

    def __init__(self, *args: Any, **traits: Any) -> None:
        super().__init__(*args, **traits)
        self._built_in = lru_cache(_KEPT)(super()._getdef)
        self._short_text = lru_cache(_KEPT)(lambda _theme, text: self.format(text))

    def _getdef(self, obj: Any, oname: str = "") -> str | None:
        if type(obj) is BuiltinFunctionType and isinstance(obj.__self__, ModuleType):
            return self._built_in(obj, oname)
        return super()._getdef(obj, oname)

    def _append_info_field(
        self, bundle: Any, title: str, key: str, info: Any, omit_sections: list[str], formatter: Any
    ) -> None:
        if key in _CODE and not getattr(self.parent, "enable_html_pager", True):
            formatter = self._coloured
        super()._append_info_field(bundle, title, key, info, omit_sections, formatter)

    def _coloured(self, text: str) -> dict[str, str | None]:
        short = len(text) <= _SHORT
        return {"text/plain": self._short_text(self._theme_name, text) if short else self.format(text)}
