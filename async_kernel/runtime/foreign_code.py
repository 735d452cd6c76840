"""When a cell gets C code of others, which may keep the GIL while it writes to descriptor 1 or 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from typing import Any, Final

from async_kernel.runtime.patches import Patch

__all__ = ["has_foreign_code", "told_of_foreign_code"]

SILENT: Final = frozenset({"msgspec", "uvloop", "winloop", "zmq"})
"Extension modules that the kernel itself uses, and that never write there."


def has_foreign_code() -> bool:
    """Whether startup code has imported some already; `ctypes` alone is none."""
    loaded = ((name, getattr(module, "__spec__", None)) for name, module in sys.modules.copy().items())
    return any(
        isinstance(getattr(spec, "loader", None), ExtensionFileLoader) and name != "_ctypes" and _is_foreign(name)
        for name, spec in loaded
    )


def told_of_foreign_code(tell: Callable[[], object]) -> list[Patch]:
    """What calls `tell()` right before an extension module of others, or a library for `ctypes`, is loaded."""
    create: Any = ExtensionFileLoader.create_module

    def create_module(self: ExtensionFileLoader, spec: Any) -> Any:
        __tracebackhide__ = True
        if _is_foreign(spec.name):
            tell()
        return create(self, spec)

    patches: list[Patch] = [(ExtensionFileLoader, "create_module", create_module)]
    if (ctypes := sys.modules.get("ctypes")) is not None:  # trio has imported it.
        open_library = ctypes.CDLL.__init__

        def init(self: Any, *args: Any, **options: Any) -> None:
            __tracebackhide__ = True
            tell()
            open_library(self, *args, **options)

        patches.append((ctypes.CDLL, "__init__", init))
    return patches


def _is_foreign(module: str) -> bool:
    root = module.partition(".")[0]
    return root == "_ctypes" or not (root in sys.stdlib_module_names or root in SILENT)
