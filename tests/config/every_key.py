"""A profile that says every key, with values that a kernel can start with; `setup.py` and the logo lie beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

EVERY_KEY: dict[str, Any] = {
    "extends": ["default"],
    "description": "Every key",
    "display_name": "Python ({env}, {profile}, {python}, {backend}, {version})",
    "backend": "trio",
    "backend_options": {"strict_exception_groups": True},
    "transport": "tcp",
    "encryption": "auto",
    "ip": "127.0.0.1",
    "allow_unsigned": False,
    "allow_network": True,
    "quiet": True,
    "print_kernel_messages": False,
    "run_modes": {"execute_request": "queue", "shell": {"comm_msg": "task"}, "control": {"debug_request": "queue"}},
    "comms": "shell",
    "gui": "none",
    "thread_output": "latest",
    "capture_fds": True,
    "history": "off",
    "stdin": "deny",
    "cell_timeout": 30,
    "output_limit": "10MB",
    "subshell_namespace": "isolated",
    "completer": "ipython",
    "log_level": "error",
    "ipython_profile": "default",
    "settings": {"shell.stop_on_error_time_offset": 0.5, "help_links": []},
    "kernel_factory": "factory.py:make",
    "startup": ["x = 1", {"file": "setup.py"}],
    "extensions": ["autoreload"],
    "env": {"A_NUMBER": 4, "A_TEXT": {"set": "a $$ b"}, "PATH": {"prepend": ["/every/key"]}, "GONE": None},
    "python": sys.executable,
    "logo": "logo.svg",
    "provisioner": {"name": "local-provisioner", "config": {}},
}


def write_beside(folder: Path) -> None:
    """Write the files that the profile names, into the folder of its file."""
    (folder / "setup.py").write_text("y = 2\n")
    (folder / "logo.svg").write_text("<svg/>")
    (folder / "factory.py").write_text(
        "from async_kernel import Kernel\n\ndef make(settings):\n    return Kernel(settings)\n"
    )
