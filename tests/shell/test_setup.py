"""How the shell is made and unmade."""

from __future__ import annotations

import builtins
import contextlib
import gc
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from IPython.core.getipython import get_ipython
from IPython.core.interactiveshell import InteractiveShell

from async_kernel.shell.history import KernelHistory
from tests.shell.bench import Bench

pytestmark = pytest.mark.anyio


def process_state() -> dict[str, Any]:
    return {
        "builtins": dict(vars(builtins)),
        "sys": {name: getattr(sys, name, None) for name in ("displayhook", "excepthook", "ps1", "ps2", "ps3")},
        "main": sys.modules["__main__"],
        "environ": dict(os.environ),
        "path": list(sys.path),
        "shell": InteractiveShell._instance,
    }


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_process_is_as_it_was(anyio_backend: str) -> None:
    """A program that had a kernel in it for a while would behave differently afterwards."""
    before = process_state()
    bench = Bench()
    bench.shell.startup()
    await bench.run("1 + 1\nimport sys\nsys.ps1")
    assert get_ipython() is bench.shell
    assert sys.modules["__main__"] is bench.shell.user_module
    reference = weakref.ref(bench.shell)
    bench.close()
    bench.close()
    assert process_state() == before
    assert get_ipython() is None
    del bench
    gc.collect()
    assert reference() is None


async def test_ipython_finds_the_shell(bench: Bench) -> None:
    """Libraries that look for a notebook would not see one."""
    await bench.run("ip = get_ipython()\nip.user_ns is globals(), 'IPKernelApp' in ip.config, __name__")
    assert bench.published.of("execute_result")[0]["data"]["text/plain"] == "(True, True, '__main__')"
    await bench.run("import pickle\nclass A: pass\ntype(pickle.loads(pickle.dumps(A()))) is A")
    assert bench.published.of("execute_result")[0]["data"]["text/plain"] == "True"


@pytest.mark.usefixtures("caplog")
async def test_startup_files(anyio_backend: str, ipython_dir: Path, tmp_path: Path) -> None:
    """What users always want would not be there; or one broken file would keep the kernel from starting."""
    startup = ipython_dir / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-good.py").write_text("early = 1\n")
    (startup / "10-bad.py").write_text("1/0\n")
    (startup / "20-magic.ipy").write_text("%alias_magic tt timeit\nlate = 2\n")
    (tmp_path / "own.py").write_text("own = early + 1\n")
    bench = Bench(backend=anyio_backend)
    try:
        bench.shell.startup(("no_such_extension",), ("line = 5", tmp_path / "own.py", "1/0", "last = 6"))
        assert [bench.shell.user_ns.get(name) for name in ("early", "own", "line", "last")] == [1, 2, 5, 6]
        assert {each["ename"] for each in bench.published.of("error")} == {"ZeroDivisionError", "ModuleNotFoundError"}
        reply = await bench.run("early")
        assert (reply["status"], reply["execution_count"]) == ("ok", 1)
        await bench.run("%who")
        assert "early" not in bench.published.text()
    finally:
        bench.close()


@pytest.mark.parametrize("code", ["import sys; sys.exit(1)", "raise KeyError", "def f(:"])
@pytest.mark.parametrize("file", ["startup/a.py", "ipython_config.py", "ipython_kernel_config.py"])
async def test_a_file_of_the_user_that_fails(
    anyio_backend: str, ipython_dir: Path, file: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A kernel would not start, and nobody would know why."""
    path = ipython_dir / "profile_default" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code + "\n")
    with caplog.at_level(logging.CRITICAL, "traitlets"):
        bench = Bench(backend=anyio_backend)
        try:
            bench.shell.startup()
            assert (await bench.run("1"))["status"] == "ok"
        finally:
            bench.close()


async def test_configuration(anyio_backend: str, ipython_dir: Path) -> None:
    """What users have set for their IPython kernels would not hold."""
    profile = ipython_dir / "profile_default"
    profile.mkdir()
    (profile / "ipython_config.py").write_text(
        "c.InteractiveShell.ast_node_interactivity = 'all'\nc.InteractiveShellApp.exec_lines = ['one = 1']\n"
        "c.InteractiveShell.cache_size = 7\n"
    )
    (profile / "ipython_kernel_config.py").write_text(
        "c.IPKernelApp.exec_lines = ['two = 2']\nc.IPKernelApp.connection_file = 'x'\n"
        "c.ZMQInteractiveShell.xmode = 'Plain'\nc.IPCompleter.use_jedi = False\n"
    )
    bench = Bench(backend=anyio_backend, xmode="Minimal")
    try:
        bench.shell.startup()
        shell: Any = bench.shell
        assert shell.ast_node_interactivity == "all"
        assert (shell.displayhook.cache_size, shell.xmode, shell.Completer.use_jedi) == (7, "Minimal", False)
        assert (shell.user_ns.get("one"), shell.user_ns.get("two")) == (None, 2)
    finally:
        bench.close()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="everything can be written")
def test_a_folder_that_can_not_be_written(anyio_backend: str, ipython_dir: Path) -> None:
    """A kernel in a read-only home would not start."""
    ipython_dir.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        bench = Bench(backend=anyio_backend, history="file")
        bench.close()
    finally:
        ipython_dir.chmod(stat.S_IRWXU)


async def test_history_goes_to_the_next_session(anyio_backend: str) -> None:
    """A restart would lose what was typed."""
    for session in (1, 2):
        bench = Bench(backend=anyio_backend, history="file")
        for code in ("1 + 1", f"'session {session}'"):
            await bench.run(code)
        bench.close()
    bench = Bench(backend=anyio_backend, history="file")
    tail = await bench.shell.history_request("tail", n=10)
    before = await bench.shell.history_request("range", session=-1)
    bench.close()
    assert [each[2] for each in tail["history"]] == ["1 + 1", "'session 1'", "1 + 1", "'session 2'"]
    assert [each[2] for each in before["history"]] == ["1 + 1", "'session 2'"]


async def test_history_is_written_while_the_kernel_runs(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is killed would lose its history."""
    monkeypatch.setattr("async_kernel.shell.history.SAVE_AFTER", 0.0)
    bench = Bench(backend=anyio_backend, history="file")
    history = bench.shell.history_manager
    assert isinstance(history, KernelHistory)
    await bench.run("saved = 1")
    for thread in threading.enumerate():
        if thread.name == "History":
            thread.join()
    with contextlib.closing(sqlite3.connect(history.hist_file)) as connection:
        assert connection.execute("SELECT source FROM history").fetchall() == [("saved = 1",)]
    bench.close()


async def test_a_broken_history_file(anyio_backend: str, ipython_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged database would break every cell."""
    profile = ipython_dir / "profile_default"
    profile.mkdir()
    (profile / "history.sqlite").write_bytes(b"not a database" * 100)
    bench = Bench(backend=anyio_backend, history="file")
    await bench.run("x = 1")
    with caplog.at_level(logging.CRITICAL):
        tail = await bench.shell.history_request("tail", n=10)
    assert tail["status"] == "ok"
    assert (await bench.run("x"))["status"] == "ok"
    bench.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_nothing_is_imported_that_the_first_cell_does_not_need(anyio_backend: str) -> None:
    """Every start of a kernel would take longer."""
    code = (
        "import asyncio, sys\n"
        "from tests.shell.bench import Bench\n"
        "bench = Bench(history='file')\n"
        "bench.shell.startup()\n"
        "asyncio.run(bench.run('print(1)'))\n"
        "unneeded = {'jedi', 'parso', 'sqlite3', 'pexpect', 'stack_data', 'matplotlib', 'prompt_toolkit', 'pdb',\n"
        "    'IPython.core.completer', 'IPython.core.oinspect', 'IPython.core.magics.basic', 'IPython.core.shellapp',\n"
        "    'tempfile', 'jupyter_client', 'zmq', 'trio', 'pygments.lexers', 'async_kernel.shell.magics'}\n"
        "print(sorted(unneeded & set(sys.modules)))\n"
        "bench.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


async def test_the_pager_editor_and_magics_of_a_kernel(bench: Bench, tmp_path: Path) -> None:
    """`%less` and `%edit` would wait for a terminal that is not there."""
    file = tmp_path / "file.py"
    file.write_text("x = 'of the file'\n")
    bench.shell.startup()
    (page,) = (await bench.run(f"%less {file}"))["payload"]
    assert "of the file" in page["data"]["text/plain"]
    await bench.run("%load_ext autoreload")  # imports others of IPython's own magics
    (edit,) = (await bench.run(f"%edit {file}"))["payload"]
    assert edit == {"source": "edit_magic", "filename": str(file), "line_number": None}
    await bench.run("print(1)\n%clear")
    assert "clear_output" in bench.published.types
    assert (await bench.run("%less"))["ename"] == "UsageError"
    assert (await bench.run("x = 8\n%store x"))["status"] == "ok"


async def test_config_lists_what_is_made_later(bench: Bench) -> None:
    """`%config IPCompleter.use_jedi = False` would not work before the first completion."""
    assert (await bench.run("%config IPCompleter.use_jedi = False"))["status"] == "ok"
    assert bench.shell.Completer.use_jedi is False
    await bench.run("%config")
    assert "PrefilterManager" in bench.published.text()


async def test_themes(bench: Bench) -> None:
    """`%colors` would have no effect."""
    await bench.run("%colors nocolor")
    reply = await bench.run("1/0")
    assert "\x1b" not in "\n".join(reply["traceback"])
    assert "\x1b" not in (await bench.shell.inspect_request("print", 3))["data"]["text/plain"]
