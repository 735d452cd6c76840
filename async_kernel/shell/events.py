"""IPython's events, whose callbacks can be interrupted."""

from __future__ import annotations

from typing import Any

from IPython.core.events import EventManager

from async_kernel.errors import KernelInterruptError
from async_kernel.shell.user_code import call_user_code

__all__ = ["Events"]


class Events(EventManager):
    """Calls what cells and extensions have registered for an event."""

    def tell(self, event: str, *args: Any) -> None:
        """`trigger`, as code of the cell; nothing where nobody has registered for `event`."""
        if self.callbacks[event]:
            call_user_code(self.trigger, event, *args)

    def trigger(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Call the callbacks of `event`; what one raises is shown, and the others are called all the same.

        Raises:
            KernelInterruptError: One was interrupted: that is meant for the request, not for the callback alone.
        """
        interrupt: KernelInterruptError | None = None
        for function in tuple(self.callbacks[event]):
            try:
                function(*args, **kwargs)
            except KernelInterruptError as exc:
                interrupt = exc
            except (Exception, KeyboardInterrupt):  # noqa: BLE001  # the user's own, and it is shown
                if self.print_on_error:
                    print(f"Error in callback {function} (for {event}), with arguments args {args},kwargs {kwargs}:")
                self.shell.showtraceback()
        if interrupt is not None:
            raise interrupt
