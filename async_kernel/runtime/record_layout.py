"""The file that a kernel keeps while it lives, so that whoever finds it knows what a dead one did: its place and form.

A page that is overwritten in memory (what follows here), then a line of JSON that says who the kernel is, then what
`faulthandler` writes when it crashes. Numbers are little-endian, times are seconds since the epoch.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from struct import Struct
from typing import Final

__all__ = [
    "CELL",
    "CELLS",
    "END",
    "EXIT",
    "LOGGED",
    "MAGIC",
    "MEMORY",
    "OOM",
    "PAGE",
    "SUFFIX",
    "prefix",
    "record_folder",
]

PAGE: Final = 4096
MAGIC: Final = b"async-kernel 1\n"
"What the page begins with."
EXIT: Final = (Struct("<di"), 16)
"When the process called `os._exit` (0: it did not), and its exit code; and where in the page that stands."
MEMORY: Final = (Struct("<dQQ"), 32)
"When the memory was measured (0: not yet), and bytes: resident then, and at most."
OOM: Final = (Struct("<Q440s"), 64)
"How many processes the system had killed for memory when the kernel began, and the file that says so."
LOGGED: Final = (Struct("<B"), 56)
"Whether the kernel had begun its log."
CELL: Final = Struct("<ddI52s272s")
"When a cell began, when it ended (0: it runs), its number (0: it has none), the id of its request, its beginning."
END: Final = (Struct("<d"), 8)
"What the end of a cell writes, and where in the cell that stands."
CELLS: Final = range(512, 512 + 8 * 344, 344)
"Where the cells are: the last of those that have ended are kept until others begin."
SUFFIX: Final = ".kernel"

SHARED_MEMORY: Final = Path("/dev/shm")


def record_folder() -> Path:
    """Where the files are: in memory where the system has such a folder, so that to write never waits for a disk.

    Where a disk may be full, a write to a mapped page could end the process (SIGBUS).
    """
    names = ("TMPDIR", "TEMP", "TMP")
    other = next((os.environ[name] for name in names if os.environ.get(name)), "/tmp")
    parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) else Path(other)
    return parent / f"async-kernel-{getattr(os, 'geteuid', int)()}"


def prefix(connection_file: Path) -> str:
    """What the names of the files begin with that kernels of this connection file have."""
    return hashlib.blake2b(os.fsencode(connection_file), digest_size=12).hexdigest() + "-"
