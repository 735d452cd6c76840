"""`Pending` and those who keep track of it: see `async_kernel.scheduling.pending` and `pending_group`."""

from __future__ import annotations

from async_kernel.scheduling.pending import Event, InvalidStateError, Pending, PendingCancelled
from async_kernel.scheduling.pending_group import PendingGroup, PendingManager, PendingTracker

__all__ = [
    "Event",
    "InvalidStateError",
    "Pending",
    "PendingCancelled",
    "PendingGroup",
    "PendingManager",
    "PendingTracker",
]
