"""Installs and uninstalls a kernelspec with a fault at the n-th system call, for every n, each in a process of its own.

    python tests/faults.py FOLDER install|uninstall old|none swap|no-swap kill|ENOSPC|EACCES|EIO

prints one JSON object a line: what was faulted, how it ended, and what it left. A fault comes where Python announces a
call to auditors (PEP 578), and in the calls that it does not announce, which are wrapped here.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from jupyter_client.kernelspec import KernelSpecManager

from async_kernel import folder_swap, kernelspec, spec_folder
from async_kernel.errors import SetupError

ANNOUNCED = ("open", "os.", "fcntl.", "tempfile.")
SILENT = ("stat", "lstat", "fsync", "close", "unlink", "rmdir")
UNHARMED, REFUSED = 0, 2


class Faults:
    """Counts system calls, and makes the n-th fail or the process die."""

    def __init__(self) -> None:
        self.count, self.at, self.kind = 0, 0, ""
        sys.addaudithook(self.audit)

    def audit(self, event: str, _args: object) -> None:
        if self.at and event.startswith(ANNOUNCED):
            self.step(event)

    def step(self, what: str) -> None:
        self.count += 1
        if self.count == self.at:
            sys.stderr.write(what)
            sys.stderr.flush()
            if self.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            number = getattr(errno, self.kind)
            raise OSError(number, os.strerror(number))

    def arm(self, at: int, kind: str) -> None:
        for name in SILENT:
            setattr(os, name, self.wrapped(getattr(os, name), name))
        folder_swap._exchange = self.wrapped(folder_swap._exchange, "renameat2")
        self.at, self.kind = at, kind

    def wrapped(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if name == "close":
                function(*args, **options)  # A failing close has closed.
                return self.step(name)
            self.step(name)
            return function(*args, **options)

        return call


FAULTS = Faults()


def content(word: str) -> dict[str, bytes]:
    """A kernelspec whose files all say `word`."""
    spec = kernelspec.kernel_json(["python"], word, {}, {"async_kernel": {"profile": word, "digest": word}})
    return spec_folder.sealed(spec, {f"logo-{word}.svg": word.encode() * 1000, "logo.png": word.encode()})


def child(work: Callable[[], object], at: int, kind: str, heard: Path) -> int:
    """Do `work` in a forked process with the fault; how it ended. What was faulted is written to `heard`."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    run_child(work, at, kind, heard)


def run_child(work: Callable[[], object], at: int, kind: str, heard: Path) -> NoReturn:
    end = os._exit
    try:
        sys.stderr = heard.open("w")
        FAULTS.arm(at, kind)
        work()
        FAULTS.at = 0
        end(UNHARMED)
    except SetupError:
        end(REFUSED)
    except OSError as exc:
        FAULTS.at = 0
        sys.stderr.write(f" raised {exc!r}")
        sys.stderr.flush()
        end(70)


def seen(folder: Path) -> str:
    """What Jupyter finds: old, new, none, or half of something."""
    listed = KernelSpecManager(kernel_dirs=[str(folder)], ensure_native_kernel=False).find_kernel_specs()
    if not listed:
        return "none" if not (folder / "async").exists() else "half"
    target = folder / "async"
    if {*listed} != {"async"}:
        return f"half: {listed}"
    files = {path.name: path.read_bytes() for path in target.iterdir()}
    return next((word for word in ("old", "new") if files == content(word)), "half")


def attempt(folder: Path, verb: str, before: str, at: int, kind: str) -> dict[str, Any]:
    """One process with one fault, what it left, and what the next one makes of that."""
    target = folder / "async"
    stale = folder / ".async-kernel-async-abcd1234" / "new"  # of one that was killed before
    stale.mkdir(parents=True)
    (stale / "kernel.json").write_bytes(b"{")
    if before == "old":
        spec_folder.write_files(target, content("old"))
        stale.mkdir(parents=True)

    def work() -> None:
        if verb == "install":
            spec_folder.write_files(target, content("new"))
        else:
            kernelspec.remove_kernel_spec("async", kernel_dir=folder)

    heard = folder.with_suffix(".txt")
    code = child(work, at, kind, heard)
    left = seen(folder)
    folder_swap.sweep(folder)
    swept = seen(folder)
    litter = sorted(path.name for path in folder.iterdir() if path.name != "async")
    spec_folder.write_files(target, content("new"))
    again = seen(folder)
    shutil.rmtree(folder)
    faulted = heard.read_text()
    return {
        "at": at,
        "fault": faulted,
        "code": code,
        "left": left,
        "swept": swept,
        "litter": litter,
        "next": again,
    }


def main(root: str, verb: str, before: str, swap: str, kind: str) -> None:
    os.fsync = lambda _: None  # counted like the others; waiting for the disk tells nothing here
    if swap == "no-swap":
        folder_swap._exchange = lambda _one, _two: False
    at, fault = 1, "?"
    while fault:
        result = attempt(Path(root, str(at)), verb, before, at, kind)
        fault = result["fault"]
        print(json.dumps(result))
        at += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
