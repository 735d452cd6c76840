"""IPython's inspector, without the HTML that nobody gets. Imported by the first inspection."""

from __future__ import annotations

from typing import Any, Final

from IPython.core import oinspect

__all__ = ["Inspector"]

_CODE: Final = ("definition", "init_definition", "call_def", "source")
"What IPython colours twice: for the terminal, and for HTML at three times the cost."


class Inspector(oinspect.Inspector):
    """IPython's inspector; code becomes HTML only where the shell's `enable_html_pager` is on."""

    def _append_info_field(  # pyright: ignore[reportIncompatibleMethodOverride] # IPython calls it by keyword
        self, bundle: Any, **field: Any
    ) -> None:
        if field.get("key") in _CODE and not getattr(self.parent, "enable_html_pager", True):
            field["formatter"] = self._coloured
        super()._append_info_field(bundle, **field)

    def _coloured(self, text: str) -> dict[str, str | None]:
        return {"text/plain": self.format(text)}
