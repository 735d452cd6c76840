"""The history of a kernel: IPython's, but the database is opened when it is first needed.

A cell only appends to lists. What it appended is written to the database a moment later by a thread that ends when
there is nothing left to write: the cells neither wait for the disk nor share the interpreter with a writer each time.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

from IPython.core.history import HistoryManager

from async_kernel.threads import KernelThread

__all__ = ["HistoryMode", "KernelHistory"]

HistoryMode: TypeAlias = Literal["file", "memory", "off"]

SAVE_AFTER = 0.5
"Seconds until inputs are written to the database."


class KernelHistory(HistoryManager):
    """Inputs and outputs of the session, and the inputs of the sessions before it.

    Args:
        shell: Whose history it is.
        mode: `file` (the database of the IPython profile), `memory` (this session only) or `off` (nothing but `In`
            and `Out`).
    """

    def __init__(self, shell: Any, mode: HistoryMode = "file", **traits: Any) -> None:
        self._mode: HistoryMode = mode
        self._lock = threading.RLock()
        self._connected = False
        self._hurry = threading.Event()
        self._saver: threading.Thread | None = None
        self._pid = os.getpid()
        if mode == "memory":
            traits["hist_file"] = ":memory:"
        # While it is not enabled, IPython neither opens the database nor starts its thread.
        super().__init__(shell=shell, enabled=False, **traits)
        self.enabled = mode != "off" and not self._disabled_by_config()

    def _disabled_by_config(self) -> bool:
        return any(self.config[name].get("enabled") is False for name in self.section_names() if name in self.config)

    def _connect(self) -> bool:
        """Open the database, if there is one to open; whether there is."""
        with self._lock:
            if not self.enabled or self._pid != os.getpid():
                return False
            if not self._connected:
                self._connected = True
                self.enabled = self._enabled_default()  # whether this Python has sqlite
                self._make_private()
                self.init_db()
                try:
                    self.new_session()
                except getattr(self.db, "OperationalError", ()):
                    self.log.exception("no session can be written to %s: history will not be saved", self.hist_file)
                    self._switch_to_memory_history()
            return self.enabled

    def _make_private(self) -> None:
        """A database that is not there yet is made for its owner only: what was typed may hold secrets."""
        path = str(self.hist_file)
        if self.enabled and self._mode == "file" and path != ":memory:":
            with contextlib.suppress(OSError):  # what is wrong, SQLite says better
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))

    def store_inputs(self, line_num: int, source: str, source_raw: str | None = None) -> None:
        """Append an input; it is saved soon."""
        super().store_inputs(line_num, source, source_raw)
        if not self.enabled:
            self.db_input_cache.clear()
        elif self._mode == "file" and self._saver is None:
            self._saver = KernelThread(target=self._save, name="History")
            self._saver.start()

    def store_output(self, line_num: int) -> None:
        """Append the text of an output, where the configuration says so."""
        if self.db_log_output and self._connect():
            super().store_output(line_num)

    def _save(self) -> None:
        self._hurry.wait(SAVE_AFTER)
        self._saver = None
        self.writeout_cache()

    def writeout_cache(self, conn: Any = None) -> None:
        """Write what waits to the database."""
        with self._lock:
            if self._connect():
                super().writeout_cache(conn)

    def get_tail(self, *args: Any, **kwargs: Any) -> Iterable[Any]:
        """The last inputs, oldest first."""
        with self._lock:
            return list(super().get_tail(*args, **kwargs)) if self._connect() else []

    def search(self, *args: Any, **kwargs: Any) -> Iterable[Any]:
        """Inputs that match a pattern of `*` and `?`."""
        with self._lock:
            return list(super().search(*args, **kwargs)) if self._connect() else []

    def get_range(self, session: int = 0, *args: Any, **kwargs: Any) -> Iterable[Any]:
        """Inputs of a session: 0 is this one, -1 the one before it."""
        with self._lock:
            if session:
                self._connect()
            return list(super().get_range(session, *args, **kwargs))

    def get_session_info(self, session: int = 0) -> Any:
        """Number, start, end, number of inputs and remark of a session; an empty list where there is no database."""
        with self._lock:
            return super().get_session_info(session) if self._connect() else []

    def reset(self, new_session: bool = True) -> None:
        """Forget inputs and outputs; with `new_session`, begin a new one in the database."""
        with self._lock:
            if self._connected or not new_session:
                super().reset(new_session)
                return
            self.db_input_cache.clear()
            super().reset(False)
            self.input_hist_parsed[:] = [""]
            self.input_hist_raw[:] = [""]

    def end_session(self) -> None:
        """Write what waits, and that the session has ended."""
        with self._lock:
            if (self.db_input_cache and self._mode == "file") or self._connected:
                self.writeout_cache()
            if self._connected and self.enabled:
                super().end_session()

    def close(self) -> None:
        """Close the database."""
        self._hurry.set()
        if (saver := self._saver) is not None:
            saver.join()
        with self._lock:
            super().close()
            self.enabled = False

    def _get_hist_file_name(self, profile: str | None = None) -> Path:
        return Path(self.shell.profile_dir.location) / "history.sqlite"
