"""Disks that are full or read-only, folders that go away, descriptors that run out: rows of docs/faults.md."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from tests.kernels import TIMEOUT, RunningKernel, spawn, text_of, wait_for_log

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) makes disks full, /proc tells what is left"),
]

Start = Callable[..., RunningKernel]


@pytest.fixture(params=["default", "trio"])
def profile(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """Folders of one kernel's own, as environment; its temporary files are there, too."""
    names = ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "TMPDIR")
    for name in names:
        (tmp_path / "own" / name).mkdir(parents=True, mode=0o700)
    return {name: str(tmp_path / "own" / name) for name in names}


def ok(kernel: RunningKernel, code: str) -> str:
    reply, published = kernel.run(code)
    assert reply["content"]["status"] == "ok", reply["content"]
    return text_of(published)


def ended(kernel: RunningKernel) -> str:
    """End it; what it has said on stderr."""
    kernel.client.stop_channels()
    kernel.process.terminate()
    _, said = kernel.process.communicate(timeout=TIMEOUT)
    assert kernel.process.returncode == 0, said
    assert "Traceback" not in said
    return said


def has_begun(log: Path) -> None:
    """Wait until a log has its first record: then it is open."""
    while not (log.exists() and log.stat().st_size):
        os.sched_yield()


def database(folders: dict[str, str]) -> Path:
    return Path(folders["IPYTHONDIR"], "profile_default", "history.sqlite")


def full(kernel: RunningKernel, is_full: bool = True) -> None:
    """No file can grow any more, as on a full disk; or again."""
    limit = 0 if is_full else resource.RLIM_INFINITY
    resource.prlimit(kernel.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def test_a_full_disk_while_it_runs(start_kernel: Start, profile: str, folders: dict[str, str], tmp_path: Path) -> None:
    """Hours of work in the kernel would go with a log, a history or a file that can't be written."""
    kernel = start_kernel("--profile", profile, **{**os.environ, **folders})
    kept = tmp_path / "kept.txt"
    ok(kernel, f"%%writefile {kept}\nold")
    ok(kernel, "h = get_ipython().history_manager; h.writeout_cache()")
    log = Path(folders["JUPYTER_RUNTIME_DIR"], "async-kernel", f"{kernel.connection_file.stem}.log")
    has_begun(log)
    full(kernel)
    reply, _ = kernel.run("import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x' * 100_000)")
    assert "No usable temporary directory" in reply["content"]["evalue"]
    ok(kernel, "import logging; logging.getLogger('async_kernel').warning('of a cell')\nh.writeout_cache()")
    message = kernel.client.session.msg("debug_request", {"type": "request", "seq": 1, "command": "dumpCell"})
    message["content"]["arguments"] = {"code": "x = 1"}
    kernel.client.control_channel.send(message)
    answer = kernel.control_reply(message["header"]["msg_id"])["content"]
    assert (answer["success"], "can't be written" in answer["message"]) == (False, True)
    assert kept.read_text() == "old\n"
    full(kernel, False)
    assert ok(kernel, f"%%writefile {kept}\nnew") == f"Overwriting {kept}\n"
    ok(kernel, "h.writeout_cache()")
    said = ended(kernel)
    assert said.count("can't write the kernel's log") == 1
    assert said.count("the history") == 1, said
    with closing(sqlite3.connect(database(folders))) as connection:
        lines = [text for (text,) in connection.execute("SELECT source_raw FROM history ORDER BY session, line")]
    assert (lines[0], lines[-2], len(lines)) == (f"%%writefile {kept}\nold", f"%%writefile {kept}\nnew", 6)
    assert not kernel.connection_file.exists()


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_full_disk_at_the_start(tmp_path: Path, transport: str) -> None:
    """One line, exit code 2, nothing left: neither half a connection file, nor sockets."""
    path = tmp_path / "k" / "k.json"
    path.parent.mkdir()
    code = (
        "import resource, sys\n"
        "from async_kernel.__main__ import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "sys.exit(main())"
    )
    command = [sys.executable, "-B", "-c", code, "run", "-f", str(path), "--set", f"transport={transport}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"async-kernel: error: can't write the connection file {path}: File too large.")
    assert len(done.stderr.splitlines()) == 1
    assert list(path.parent.iterdir()) == []


def test_folders_that_cannot_be_used(start_kernel: Start, folders: dict[str, str], tmp_path: Path) -> None:
    """A path below a file can't be made by anybody, root included: it stands for every folder that is not writable."""
    file = tmp_path / "file"
    file.write_text("")
    unusable = {name: f"{file}/{name}" for name in ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
    kernel = start_kernel(**{**os.environ, **folders, **unusable})
    ok(kernel, "1")
    said = ended(kernel)
    assert said.count("\n") == 2
    assert f"the IPython profile 'default' in {unusable['IPYTHONDIR']} can't be used" in said
    assert f"can't write the kernel's log {unusable['JUPYTER_RUNTIME_DIR']}" in said
    assert os.listdir(folders["TMPDIR"]) == []
    process = subprocess.run(
        [sys.executable, "-m", "async_kernel", "run"],
        env={**os.environ, **folders, **unusable},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert (process.returncode, len(process.stderr.splitlines())) == (2, 1)
    assert "can't make Jupyter's runtime folder" in process.stderr


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_the_runtime_folder_is_removed(folders: dict[str, str], transport: str) -> None:
    """A clean-up of /run or a careless `rm -rf` must cost nobody a session."""
    runtime = Path(tempfile.mkdtemp(prefix="ak-"))  # `tmp_path` may be too long for Unix sockets.
    path = runtime / "k.json"
    options = {**os.environ, **folders, "JUPYTER_RUNTIME_DIR": str(runtime)}
    process = spawn(path, "--set", f"transport={transport}", **options)
    while not path.exists():
        assert process.poll() is None
        os.sched_yield()
    kernel = RunningKernel(process, path)
    has_begun(runtime / "async-kernel" / "k.log")
    shutil.rmtree(runtime)
    ok(kernel, "import logging; logging.getLogger('async_kernel').error('of a cell')")
    assert ended(kernel).count("\n") == 1
    assert not runtime.exists()


def test_a_connection_file_of_somebody_else_is_left(start_kernel: Start) -> None:
    """What another has put in its place is not the kernel's to remove."""
    kernel = start_kernel()
    kernel.connection_file.write_text(json.dumps({"key": "x"}))
    ok(kernel, "1")
    assert ended(kernel) == ""
    assert kernel.connection_file.exists()


def test_the_history_is_locked_by_another(start_kernel: Start, folders: dict[str, str]) -> None:
    """Cells answer meanwhile, the file keeps its name and content, and the end of the kernel does not wait for it."""
    options = {**os.environ, **folders}
    first = start_kernel("--profile", "trio", **options)
    ok(first, "old = 1")
    assert ended(first) == ""
    path = database(folders)
    second = start_kernel("--profile", "default", **options)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ok(second, "new = 1")
        assert ok(second, "%history") == "new = 1\n%history\n"
        said = ended(second)
    assert said.count("database is locked") == 1
    assert "the last inputs (2) are not in the history" in said
    assert [each.name for each in path.parent.glob("*.sqlite*")] == ["history.sqlite"]


def test_two_kernels_write_one_history(start_kernel: Start, folders: dict[str, str]) -> None:
    """All lines of both are there, each under its own session."""
    options = {**os.environ, **folders}
    kernels = [start_kernel("--profile", name, **options) for name in ("default", "trio")]
    for number in range(10):
        for which, kernel in enumerate(kernels):
            ok(kernel, f"x = {which}, {number}; get_ipython().history_manager.writeout_cache()")
    assert [ended(kernel) for kernel in kernels] == ["", ""]
    with closing(sqlite3.connect(database(folders))) as connection:
        rows = connection.execute("SELECT session, source FROM history ORDER BY session, line").fetchall()
    by_session = {session: [text[4:8] for number, text in rows if number == session] for session, _ in rows}
    assert sorted(by_session.values()) == [[f"{which}, {n}" for n in range(10)] for which in (0, 1)]


def test_every_descriptor_is_taken(start_kernel: Start, profile: str) -> None:
    """A cell that opens too much: the kernel answers, even what needs a thread, and goes on when they are closed."""
    kernel = start_kernel("--profile", profile)
    wait_for_log(kernel)
    code = """
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    files = []
    try:
        while True: files.append(open("/dev/null"))
    except OSError as error: print(error.errno)
    """
    assert ok(kernel, code) == "24\n"
    reply, published = kernel.run("# thread\n1")
    assert "Too many open files" in reply["content"]["evalue"]
    assert [each["content"]["ename"] for each in published if each["msg_type"] == "error"] == ["StartError"]
    late = BlockingKernelClient(connection_file=str(kernel.connection_file))
    late.load_connection_file()
    late.start_channels()
    try:
        ok(kernel, "for file in files: file.close()")
        late.wait_for_ready(timeout=TIMEOUT)
    finally:
        late.stop_channels()
    assert ok(kernel, "# thread\nprint(1)") == "1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_disk_that_is_really_full(start_kernel: Start, folders: dict[str, str], tmp_path: Path) -> None:
    """The limit on the size of files stands for a full disk elsewhere; here is one, where it may be mounted."""
    disk = Path(tempfile.mkdtemp(dir=tmp_path))
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        (disk / "fill").write_bytes(b"x" * 190_000)
        own = {**os.environ, **folders, "IPYTHONDIR": str(disk), "JUPYTER_RUNTIME_DIR": str(disk / "run")}
        kernel = start_kernel(**own)
        ok(kernel, f"large = {'x' * 30_000!r}")
        ok(kernel, "get_ipython().history_manager.writeout_cache()")
        (disk / "fill").unlink()
        ok(kernel, "get_ipython().history_manager.writeout_cache()")
        said = ended(kernel)
        assert said.count("database or disk is full") == 1
        with closing(sqlite3.connect(disk / "profile_default" / "history.sqlite")) as connection:
            assert connection.execute("SELECT count(*) FROM history").fetchall() == [(3,)]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
