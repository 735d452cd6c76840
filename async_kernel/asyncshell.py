"""The shells of the kernel, and the error that an interrupt raises in their cells."""

from async_kernel.errors import KernelInterruptError
from async_kernel.shell.interactive import AsyncInteractiveShell

__all__ = ["AsyncInteractiveShell", "KernelInterruptError"]
