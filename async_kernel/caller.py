"""`Caller`: see `async_kernel.scheduling.caller`."""

from __future__ import annotations

from async_kernel.scheduling.caller import Caller

__all__ = ["Caller"]
