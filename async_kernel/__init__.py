"""A Jupyter kernel for Python that is concurrent, fast and configured by YAML profiles."""

# No `from __future__` here: it is an import too, and nothing may be imported before the next lines.
import sys

if (
    sys.argv[:1] == ["-m"]
    and ("-m", __name__) in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    and not sys.flags.safe_path
):
    # `python -m async_kernel` puts the working folder first. It may be a stranger's, with a `typing.py` in it: nothing
    # that the kernel itself imports comes from there. (While a module is looked for, argv[0] is "-m".)
    del sys.path[0]

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
