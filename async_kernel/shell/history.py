"""The history of a kernel: IPython's, but the database is opened when it is first needed, and no cell waits for it.

A cell only appends to lists. What it appended is written to the database a moment later by a thread that ends when
there is nothing left to write: the cells neither wait for the disk nor share the interpreter with a writer each time.

A database may be locked, on a full disk, read-only, gone or broken. Then the inputs are kept and written when that is
over, and the log says so once. One that is broken is kept under another name, and a new one begun. Only that: IPython
itself also puts aside a good one that another process has locked for a few seconds.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import threading
from collections import UserDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from IPython.core.history import HistoryManager, HistoryOutput

from async_kernel.shell.traits import assign
from async_kernel.threads import KernelThread

__all__ = ["HistoryMode", "KernelHistory"]

log = logging.getLogger("async_kernel")

HistoryMode: TypeAlias = Literal["file", "memory", "off"]

PLAIN: Final = "text/plain"
SAVE_AFTER: Final = 0.5
"Seconds until inputs are written to the database."
BUSY_SECONDS: Final = 1.0
"For so long a call waits for another process that has locked the database."
LONGEST_PAUSE: Final = 60.0
"Seconds between two attempts to write to a database that can't be written."
END_SECONDS: Final = 2.0
"For so long an ending kernel waits for its history: less than what its whole end may take."

# Primary result codes of SQLite (sqlite.org/rescode.html); the names are in Python's module, which may be missing.
BUSY, LOCKED, CORRUPT, FULL, NOT_A_DATABASE = 5, 6, 11, 13, 26
MOVED: Final = 8 | 4 << 8  # one of the extended ones
PASSING: Final = frozenset((BUSY, LOCKED, FULL))
"The connection is as good as before."
BROKEN: Final = frozenset((CORRUPT, NOT_A_DATABASE))


class Outputs(UserDict[int, list[HistoryOutput]]):
    """What cells have shown, by their numbers; a defaultdict for IPython (`%notebook`).

    Most show one text. That alone is kept, until somebody asks for it: a list of a record of a dict takes ten times as
    much.
    """

    def add(self, number: int, bundle: dict[str, Any]) -> None:
        """Note a value that was shown."""
        if number not in self.data and bundle.keys() == {PLAIN}:
            self.data[number] = bundle[PLAIN]
        else:
            self[number].append(HistoryOutput("execute_result", bundle))

    def __getitem__(self, number: int) -> list[HistoryOutput]:
        kept: Any = self.data.get(number)
        if not isinstance(kept, list):
            kept = self.data[number] = [] if kept is None else [HistoryOutput("execute_result", {PLAIN: kept})]
        return kept

    def clear(self) -> None:
        """Forget all."""
        self.data.clear()  # The inherited one takes one after another.


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
        self._sqlite: Any = None
        self._told: set[int] = set()
        self._pid = os.getpid()
        self.outputs: Any = Outputs()  # IPython has one for the whole process.
        if mode == "memory":
            traits["hist_file"] = ":memory:"
        # While it is not enabled, IPython neither opens the database nor starts its thread.
        super().__init__(shell=shell, enabled=False, **traits)
        self.enabled = mode != "off" and not self._disabled_by_config()

    def _disabled_by_config(self) -> bool:
        return any(self.config[name].get("enabled") is False for name in self.section_names() if name in self.config)

    # -- the database -------------------------------------------------------------------------------------------------

    def _connect(self) -> bool:
        """Open the database, if there is one to open; whether there is."""
        if not self.enabled or self._pid != os.getpid():
            return False
        if self._connected:
            return True
        if self._sqlite is None:
            try:
                import sqlite3  # 8 ms, when there is something to write; and a Python may be without it
            except ImportError:
                self.enabled = False
                return False
            self._sqlite = sqlite3
        # Twice: what is broken is put aside.
        return self._attempt(self._open) or (not Path(self.hist_file).exists() and self._attempt(self._open))

    def init_db(self) -> None:
        """Open the database; raises where IPython would take any failure for a broken file."""
        given: dict[str, Any] = cast("Any", self).connection_options
        self.connection_options = {"timeout": BUSY_SECONDS, **given, "check_same_thread": False}
        inspect.unwrap(HistoryManager.init_db)(self)

    def _open(self) -> None:
        self._finalizer.detach()  # It would hold on to every database that was tried.
        self._make_private()
        try:
            self.init_db()
            with self.db:
                self._begin_session()
        except BaseException:
            self.db.close()
            raise
        self._connected = True

    def _begin_session(self) -> None:
        now = datetime.now().isoformat(" ")
        cursor: Any = self.db.execute("INSERT INTO sessions VALUES (NULL, ?, NULL, NULL, '')", (now,))
        self.session_number = cursor.lastrowid

    def _attempt(self, act: Callable[[], object]) -> bool:
        """Do something with the database; whether it worked. The log says what did not, each kind of fault once."""
        try:
            act()
        except self._sqlite.Error as error:
            code: int = getattr(error, "sqlite_errorcode", 0)
            if code & 0xFF not in PASSING:
                self._connected = False
                self.db.close()
            then = "what runs from here on is kept, and written when that is over"
            if code == MOVED:
                error, then = "it was removed or renamed", "a new one is begun"
            elif code & 0xFF in BROKEN and (aside := self._put_aside()) is not None:
                then = f"it is kept as {aside.name}, and a new one is begun"
            if code not in self._told:
                self._told.add(code)
                log.warning("the history %s can't be used: %s; %s", self.hist_file, error, then)
            return False
        return True

    def _put_aside(self) -> Path | None:
        """Rename a broken database, unless another kernel has done so: then there is a good one by now."""
        path, now = Path(self.hist_file), f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        if self._is_good(path):
            return None
        aside = path.with_name(f"{path.stem}-corrupt-{now}{path.suffix}")
        try:
            # The journal first: it would be played back into the new database.
            for suffix in ("-journal", "-wal", "-shm", ""):
                if os.path.exists(f"{path}{suffix}"):
                    os.rename(f"{path}{suffix}", f"{aside}{suffix}")
        except OSError as error:
            log.warning("the broken history %s can't be renamed: %s", path, error.strerror)
            return None
        return aside

    def _is_good(self, path: Path) -> bool:
        """Whether there is a database that is not broken."""
        connection = self._sqlite.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)
        try:
            return connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
        except self._sqlite.Error as error:
            return error.sqlite_errorcode & 0xFF not in BROKEN
        finally:
            connection.close()

    # -- writing ------------------------------------------------------------------------------------------------------

    def _make_private(self) -> None:
        """A database that is not there yet is made for its owner only: what was typed may hold secrets."""
        path = str(self.hist_file)
        if self.enabled and self._mode == "file" and path != ":memory:":
            with contextlib.suppress(OSError):  # what is wrong, SQLite says better
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))

    def store_inputs(self, line_num: int, source: str, source_raw: str | None = None) -> None:
        """Append an input; it is saved soon. What IPython's own does, for half of its cost."""
        raw = (source if source_raw is None else source_raw).rstrip("\n")
        if not self._exit_re.match(raw.strip()):
            source = source.rstrip("\n")
            self.input_hist_parsed.append(source)
            self.input_hist_raw.append(raw)
            with self.db_input_cache_lock:
                self.db_input_cache.append((line_num, source, raw))
            latest = {"_i": self._i00, "_ii": self._i, "_iii": self._ii}
            for name, value in latest.items():
                assign(self, name, value)
            assign(self, "_i00", raw)
            self.shell.push({**latest, f"_i{line_num}": raw}, interactive=False)
        self._save_soon()

    def store_output(self, line_num: int) -> None:
        """Append the text of an output, where the configuration says so; it is saved with the inputs."""
        super().store_output(line_num)
        if self.db_log_output:
            self._save_soon()

    def _save_soon(self) -> None:
        if not self.enabled:
            self.db_input_cache.clear()
            self.db_output_cache.clear()
        elif self._mode == "file" and self._saver is None:
            self._saver = KernelThread(target=self._save, name="History")
            self._saver.start()

    def _save(self) -> None:
        pause = SAVE_AFTER
        while not self._hurry.wait(pause):
            self.writeout_cache()
            with self.db_input_cache_lock, self.db_output_cache_lock:
                if not (self.db_input_cache or self.db_output_cache):
                    self._saver = None
                    return
            pause = min(LONGEST_PAUSE, max(1.0, pause * 2))

    def writeout_cache(self, conn: Any = None) -> None:
        """Write what waits to the database. What can't be written now waits on."""
        with self._lock:
            if (self.db_input_cache or self.db_output_cache) and self._connect() and not self._attempt(self._write):
                # A file that was removed or broken meanwhile has a successor now.
                _ = not self._connected and self._connect() and self._attempt(self._write)

    def _write(self) -> None:
        with self.db_input_cache_lock, self.db_output_cache_lock:
            inputs, self.db_input_cache = self.db_input_cache, []
            outputs, self.db_output_cache = self.db_output_cache, []
        before = self.session_number
        try:
            with self.db:
                self._insert("INSERT INTO history VALUES (?, ?, ?, ?)", inputs)
                self._insert("INSERT OR REPLACE INTO output_history VALUES (?, ?, ?)", outputs)
        except BaseException:
            self.session_number = before
            with self.db_input_cache_lock, self.db_output_cache_lock:
                self.db_input_cache = [*inputs, *self.db_input_cache]
                self.db_output_cache = [*outputs, *self.db_output_cache]
            raise

    def _insert(self, statement: str, lines: Iterable[tuple[Any, ...]]) -> None:
        for line in lines:
            try:
                self.db.execute(statement, (self.session_number, *line))
            except self._sqlite.IntegrityError:  # The count has begun anew: so does the session.
                self._begin_session()
                self.db.execute(statement, (self.session_number, *line))

    # -- reading ------------------------------------------------------------------------------------------------------

    def _run_sql(self, *args: Any, **kwargs: Any) -> Iterable[Any]:
        """The rows of a query; none where the database can't be read now."""
        rows: list[Any] = []
        if self._connected:
            self._attempt(lambda: rows.extend(super(KernelHistory, self)._run_sql(*args, **kwargs)))
        return rows

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
        if not session:  # It is in lists, and whoever writes the database may take a while.
            return list(super().get_range(0, *args, **kwargs))
        with self._lock:
            return list(super().get_range(session, *args, **kwargs)) if self._connect() else []

    def get_session_info(self, session: int = 0) -> Any:
        """Number, start, end, number of inputs and remark of a session; an empty list where there is no database."""
        with self._lock:
            rows: list[Any] = []
            if self._connect():
                number = session if session > 0 else session + self.session_number
                query = "SELECT * FROM sessions WHERE session = ?"
                self._attempt(lambda: rows.extend(self.db.execute(query, (number,))))
            return rows[0] if rows else []

    # -- the end of a session -----------------------------------------------------------------------------------------

    def reset(self, new_session: bool = True) -> None:
        """Forget inputs and outputs; with `new_session`, begin a new one in the database."""
        with self._lock:
            super().reset(False)
            if new_session:
                if self._connected:
                    self._end()
                    self._attempt(self._renew)
                self.input_hist_parsed[:] = [""]
                self.input_hist_raw[:] = [""]

    def _renew(self) -> None:
        with self.db:
            self._begin_session()

    def end_session(self) -> None:
        """Write what waits, and that the session has ended; gives up after `END_SECONDS`."""
        if not ((self.db_input_cache and self._mode == "file") or self._connected):
            return
        last = KernelThread(target=self._end, name="HistoryEnd")
        last.start()
        last.join(END_SECONDS)
        if waiting := len(self.db_input_cache):
            log.warning("the last inputs (%d) are not in the history %s", waiting, self.hist_file)

    def _end(self) -> None:
        with self._lock:
            self.writeout_cache()
            if self._connected and self.enabled:
                self._attempt(self._sign_off)

    def _sign_off(self) -> None:
        values = (datetime.now(UTC).isoformat(" "), len(self.input_hist_parsed) - 1, self.session_number)
        with self.db:
            self.db.execute("UPDATE sessions SET end = ?, num_cmds = ? WHERE session = ?", values)

    def close(self) -> None:
        """Close the database."""
        self._hurry.set()
        if (saver := self._saver) is not None:
            saver.join(BUSY_SECONDS)
        if self._lock.acquire(timeout=BUSY_SECONDS):
            try:
                super().close()
                self.enabled = False
            finally:
                self._lock.release()
        else:  # Somebody waits for a disk that does not answer: at the end of the process it would be waited for, too.
            self._finalizer.detach()

    def _get_hist_file_name(self, profile: str | None = None) -> Path:
        return Path(self.shell.profile_dir.location) / "history.sqlite"
