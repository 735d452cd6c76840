"""`python -m async_kernel` and the command `async-kernel`.

What Jupyter starts, `run -f FILE [--profile NAME]` exactly, goes straight to the kernel, without click.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from async_kernel.cli.start import guarded, run_kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default the process's) and return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0].startswith(("-f", "--connection")):
        argv = ["run", *argv]  # the short form of old kernelspecs: `async-kernel -f FILE`
    match argv:
        case ["run", "-f", file] if file and not file.startswith("-"):
            return guarded(lambda: run_kernel("default", file))
        case ["run", "-f", file, "--profile", name] if file and not file.startswith("-") and not name.startswith("-"):
            return guarded(lambda: run_kernel(name, file))
        case _:
            from async_kernel.cli.main import main as cli_main  # click costs 40 ms

            return cli_main(argv)


if __name__ == "__main__":
    sys.exit(main())
