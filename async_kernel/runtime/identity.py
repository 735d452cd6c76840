"""Who this kernel says it is: the content of `kernel_info_reply`, known before anything of it is imported."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Final

from async_kernel import __version__
from async_kernel.protocol.messages import kernel_info_content
from async_kernel.typing import Content

__all__ = ["HELP_LINKS", "kernel_info"]

HELP_LINKS: Final = (
    {"text": "Python Reference", "url": f"https://docs.python.org/{sys.version_info[0]}.{sys.version_info[1]}"},
    {"text": "IPython Reference", "url": "https://ipython.readthedocs.io/en/stable/"},
    {"text": "AnyIO Reference", "url": "https://anyio.readthedocs.io/en/stable/"},
    {"text": "Trio Reference", "url": "https://trio.readthedocs.io/en/stable/"},
    {"text": "NumPy Reference", "url": "https://numpy.org/doc/stable/reference/"},
    {"text": "Matplotlib Reference", "url": "https://matplotlib.org/stable/contents.html"},
    {"text": "pandas Reference", "url": "https://pandas.pydata.org/docs/"},
)
"""The default help links: what a notebook user reads most."""


@functools.cache
def has_debugger() -> bool:
    """Whether debugpy is installed; it is not imported for that."""
    return find_spec("debugpy") is not None


def kernel_info(help_links: Iterable[Mapping[str, str]] = HELP_LINKS) -> Content:
    """The content of a `kernel_info_reply`. The debugger is listed where debugpy can be found."""
    python = sys.version.split(maxsplit=1)[0]
    return kernel_info_content(
        implementation_version=__version__,
        banner=f"Python {python} (async_kernel {__version__})\nType `?` for help, `object?` for details of an object.",
        help_links=help_links,
        debugger=has_debugger(),
        supported_features=["kernel subshells", *(["debugger"] if has_debugger() else [])],
    )
