"""A Jupyter kernel for Python that is concurrent, fast and configured by YAML profiles."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Caller": "async_kernel.caller",
    "Comm": "async_kernel.comm",
    "CommManager": "async_kernel.comm",
    "Kernel": "async_kernel.kernel",
    "KernelInterruptError": "async_kernel.errors",
    "Pending": "async_kernel.pending",
    "PendingGroup": "async_kernel.pending",
    "embed": "async_kernel.embedding",
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import async_kernel` alone stays cheap."""
    if home := _HOMES.get(name):
        value = globals()[name] = getattr(importlib.import_module(home), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
