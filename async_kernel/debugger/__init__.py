"""The debugger: from debug requests to debugpy's adapter and back."""

from async_kernel.debugger.debugger import Debugger

__all__ = ["Debugger"]
