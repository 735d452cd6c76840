"""The shells of the kernel, and the error that an interrupt raises in their cells."""

from async_kernel.errors import KernelInterruptError
from async_kernel.shell.interactive import AsyncInteractiveShell
from async_kernel.shell.subshell import AsyncInteractiveSubshell
from async_kernel.shell.subshells import SubshellManager

__all__ = ["AsyncInteractiveShell", "AsyncInteractiveSubshell", "KernelInterruptError", "SubshellManager"]
