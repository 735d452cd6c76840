"""`gui:` and `%gui`: what a kernel does for windows. Nothing of it is imported before one of them is used."""

from __future__ import annotations

from typing import Any

from async_kernel.errors import SetupError
from async_kernel.typing import Backend

__all__ = ["Gui"]


class Gui:
    """The GUI of one kernel."""

    def __init__(self) -> None:
        self._events: Any = None

    def host(self, name: str, backend: Backend) -> dict[str, Any]:
        """The options that let the event loop of `backend` run inside the GUI `name`; none for `none`.

        Raises:
            SetupError: The GUI can't be used here.
        """
        if name == "none":
            return {}
        from async_kernel.scheduling import gui  # only where there is one

        try:
            host = gui.make_host(name)
        except SetupError as error:
            error.key = "gui"
            raise
        options = gui.run_options(host, backend)
        self._events = gui.GuiEvents(host if options else None)
        return options

    def use(self, name: str | None) -> None:
        """Process the events of the GUI `name` while the event loop is free; with None, no more. Call it in the loop.

        Raises:
            SetupError: There is no such GUI, or it can't be used here.
        """
        if self._events is None:
            if name is None:
                return
            from async_kernel.scheduling import gui  # only where there is one

            self._events = gui.GuiEvents()
        self._events.use(name)
