"""One virtual environment for each kernel, made with the Python that runs this, with the byte code compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / ".envs"

REQUIREMENTS = {
    "ipykernel": ("ipykernel==7.4.*", "uvloop"),
    "async-kernel": ("async-kernel==0.23.*", "uvloop"),
    # Only a wheel: where there is none for this platform, a build from source would fail after minutes.
    "xeus-python": ("--only-binary=xeus-python", "xeus-python==0.19.*"),
    "ours": (f"{ROOT}[trio,uvloop]",),
}
"What is installed, by environment. uvloop is there for whoever can use it."


def make(name: str, given: Path | None = None) -> Path:
    """Make the environment `name`, unless it is there, or take the `given` folder; its interpreter.

    The environment `ours` always gets the package as it is in the checkout now, as a user installs it: from a wheel.
    """
    folder = given or FOLDER / name
    python = folder / "bin" / "python"
    if given is None:
        stamp, wanted = folder / "requirements.txt", "\n".join((sys.version, *REQUIREMENTS[name]))
        if not stamp.exists() or stamp.read_text("utf-8") != wanted:
            print(f"making the environment {name} …", file=sys.stderr, flush=True)
            run(sys.executable, "-m", "venv", "--clear", folder)
            run(python, "-m", "pip", "install", "-q", *REQUIREMENTS[name])
            stamp.write_text(wanted, "utf-8")
        elif name == "ours":
            run(python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", ROOT)
    libraries = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(
        python, "-m", "compileall", "-q", "-j", "2", libraries, check=False
    )  # some packages ship files that don't compile
    return python


def run(*command: str | Path, check: bool = True) -> str:
    """Run a command outside the checkout, which would shadow what is installed; what it printed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd="/", env=variables, stdout=subprocess.PIPE, text=True, check=check)
    return done.stdout
