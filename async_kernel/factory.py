"""`kernel_factory`: the one place where text of the user names code to import."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from async_kernel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["import_kernel_factory", "made_by"]

KEY: Final = "kernel_factory"
MODULE: Final = "async_kernel_factory"
"The name of a file's module: it is in `sys.modules`, where dataclasses and pickle look for what is defined there."


class FactoryError(SetupError):
    """The key `kernel_factory` names nothing that makes a kernel."""

    key = KEY


def import_kernel_factory(text: str) -> Callable[..., Any]:
    """The function that `kernel_factory` names.

    Args:
        text: `package.module:name`, or `/absolute/file.py:name`.

    Raises:
        SetupError: There is no such module, file or function, or the module fails.
    """
    place, _, name = text.rpartition(":")
    try:
        factory: Any = _from_file(place) if place.endswith(".py") else importlib.import_module(place)
        for part in name.split("."):
            factory = getattr(factory, part)
    except Exception as exc:
        raise FactoryError(f"kernel_factory {text!r} can't be loaded: {_told(exc)}") from exc
    if not callable(factory):
        raise FactoryError(f"kernel_factory {text!r} is not a function: {factory!r}")
    return factory


def made_by(text: str, settings: dict[str, Any], kernel: type[Any]) -> Any:
    """What the factory that `text` names makes of `settings`, which the kernel class's `load_settings` takes.

    Raises:
        SetupError: It can't be loaded, it fails, or it makes something else than a `kernel`.
    """
    factory = import_kernel_factory(text)
    try:
        made = factory(settings)
    except SetupError:
        raise  # A setting that the kernel refuses: it knows its own place.
    except Exception as exc:
        raise FactoryError(f"kernel_factory {text!r} has failed: {_told(exc)}") from exc
    if not isinstance(made, kernel):
        raise FactoryError(f"kernel_factory {text!r} must return a Kernel, it returned {made!r:.80}")
    return made


def _from_file(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path!r} is no Python file")
    module = sys.modules[MODULE] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[MODULE]
        raise
    return module


def _told(error: Exception) -> str:
    """One line: what was wrong, and the line of the user's code where it happened."""
    trace = error.__traceback__
    where = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file != __file__ and not file.startswith(("<", os.path.dirname(importlib.__file__))):
            where = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"
