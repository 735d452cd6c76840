"""stdout and stderr of the cells."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from async_kernel.errors import KernelInterruptError
from async_kernel.scheduling.context import current_job
from async_kernel.shell.outstream import MESSAGE_CHARS, Output
from tests.shell.bench import Recorder, make_job

DEADLINE = 5.0


@pytest.fixture
def published() -> Recorder:
    return Recorder()


@pytest.fixture
def output(published: Recorder) -> Generator[Output]:
    output = Output(published)
    yield output
    output.close()


def in_job(job: Any, func: Callable[[], object]) -> None:
    token = current_job.set(job)
    try:
        func()
    finally:
        current_job.reset(token)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for the flusher thread, which nothing else can be waited for."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "nothing was published in time"
        time.sleep(0.001)


def test_many_prints_are_few_messages(output: Output, published: Recorder) -> None:
    """A cell that prints 20,000 lines would drown the frontend in messages."""
    for i in range(20_000):
        print(i, file=output.stdout)
    output.flush()
    assert published.text() == "".join(f"{i}\n" for i in range(20_000))
    assert len(published.messages) <= 100


def test_text_arrives_without_a_flush(output: Output, published: Recorder) -> None:
    """Progress of a long cell would only be seen at its end."""
    print("working", file=output.stdout)
    wait_until(lambda: published.text() == "working\n")


def test_the_beginning_of_a_line_arrives_without_a_flush(output: Output, published: Recorder) -> None:
    """A row of dots would only be seen when it is complete."""
    output.stdout.write(".")
    wait_until(lambda: published.text() == ".")


def test_stdout_and_stderr_keep_their_order(output: Output, published: Recorder) -> None:
    """A warning would be shown before the line that led to it."""
    for stream, text in ((output.stdout, "a"), (output.stderr, "b\n"), (output.stdout, "c\n"), (output.stderr, "d")):
        stream.write(text)
    output.flush()
    assert [(each["name"], each["text"]) for each in published.of("stream")] == [
        ("stdout", "a"),
        ("stderr", "b\n"),
        ("stdout", "c\n"),
        ("stderr", "d"),
    ]


def test_text_belongs_to_the_cell_that_wrote_it(output: Output, published: Recorder) -> None:
    """Text of cells that run side by side would be shown in the wrong ones."""
    one, two = make_job("one"), make_job("two")
    for _ in range(3):
        in_job(one, lambda: output.stdout.write("1"))
        in_job(two, lambda: output.stdout.write("2"))
        in_job(None, lambda: output.stdout.write("0"))
    output.flush()
    assert [published.text(parent=parent) for parent in (one, two, None)] == ["111", "222", "000"]
    assert len(published.messages) == 3


@pytest.mark.slow
def test_lines_of_threads_are_not_torn(output: Output, published: Recorder) -> None:
    """Lines of threads that print at once would be mixed, or lost."""
    job = make_job()

    def work(name: int) -> None:
        current_job.set(job)
        for i in range(5000):
            print(name, i, sep=":", file=output.stdout)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            in_job(job, output.flush)
    finally:
        sys.setswitchinterval(interval)
    in_job(job, output.flush)
    lines = published.text(parent=job).splitlines()
    assert sorted(lines) == sorted(f"{name}:{i}" for name in range(4) for i in range(5000))
    for name in range(4):
        assert [line for line in lines if line.startswith(f"{name}:")] == [f"{name}:{i}" for i in range(5000)]


def test_an_unfinished_line_of_a_thread_that_has_ended_is_published(output: Output, published: Recorder) -> None:
    """The last words of a thread would be missing when the cell ends."""
    thread = threading.Thread(target=lambda: output.stdout.write("no newline"))
    thread.start()
    thread.join()
    output.stdout.write("mine\n")
    output.flush()
    assert "no newline" in published.text()


def test_much_text_is_published_in_pieces(output: Output, published: Recorder) -> None:
    """One message of 20 MB blocks the frontend, and memory."""
    text = "x" * (3 * MESSAGE_CHARS + 7)
    output.stdout.write(text)
    output.flush()
    assert published.text() == text
    assert max(len(each["text"]) for each in published.of("stream")) == MESSAGE_CHARS
    assert len(published.messages) == 4


def test_memory_is_bounded_while_nobody_flushes(output: Output, published: Recorder) -> None:
    """A loop that prints for hours would fill the memory."""
    for _ in range(100):
        output.stdout.write("y" * 10_000 + "\n")
    assert len(output.entries) < 10


def test_an_interrupted_publisher_loses_nothing(published: Recorder) -> None:
    """Text would be missing, or printing would not work any more, after an interrupt."""
    interrupts = [KernelInterruptError(), KernelInterruptError()]

    def publish(*args: Any, **options: Any) -> None:
        if interrupts:
            raise interrupts.pop()
        published(*args, **options)

    output = Output(publish)
    for stream in (output.stdout, output.stderr):
        stream.write("text\n")
        with pytest.raises(KernelInterruptError):
            output.flush()
    output.flush()
    assert [each["name"] for each in published.of("stream")] == ["stdout", "stderr"]
    output.close()


def test_a_publisher_that_fails_does_not_stop_the_next_text(published: Recorder) -> None:
    """One message that can't be sent would silence the kernel."""
    errors = [ValueError("no")]

    def publish(*args: Any, **options: Any) -> None:
        if errors:
            raise errors.pop()
        published(*args, **options)

    output = Output(publish)
    output.stdout.write("lost\n")
    with pytest.raises(ValueError, match="no"):
        output.flush()
    output.stdout.write("kept\n")
    output.flush()
    assert published.text() == "kept\n"
    output.close()


def test_printing_while_text_is_published(published: Recorder) -> None:
    """A finalizer or a signal handler that prints at the wrong moment would hang the kernel."""

    def publish(*args: Any, **options: Any) -> None:
        if not published.messages:
            output.stdout.write("from inside\n")
            output.flush()
        published(*args, **options)

    output = Output(publish)
    output.stdout.write("first\n")
    output.flush()
    output.flush()
    assert published.text() == "first\nfrom inside\n"
    output.close()


def test_printing_in_a_finalizer(output: Output, published: Recorder) -> None:
    """The message of a `__del__` would be lost, or hang the garbage collector."""

    class Noisy:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            print("gone", file=output.stdout, flush=True)

    Noisy()
    gc.collect()
    output.flush()
    assert published.text() == "gone\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_to_the_file_descriptor(output: Output, published: Recorder) -> None:
    """What a child process prints would hang it, or be shown twice."""
    reader, writer = os.pipe()
    output.stdout.write("of the parent\n")
    lock_taken = threading.Event()
    release = threading.Event()

    def hold_lock() -> None:
        with output._lock:  # pyright: ignore[reportPrivateUsage]
            lock_taken.set()
            release.wait(DEADLINE)

    holder = threading.Thread(target=hold_lock)
    holder.start()
    assert lock_taken.wait(DEADLINE)
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        print("of the child", file=output.stdout, flush=True)
        os._exit(0)
    release.set()
    holder.join()
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "of the child\n"
    assert os.waitpid(child, 0)[1] == 0
    output.flush()
    assert published.text() == "of the parent\n"


def test_after_close_text_goes_to_the_file_descriptor(published: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    """What an exiting interpreter prints would be lost."""
    output = Output(published)
    output.stdout.write("cell")
    output.close()
    print("late é", file=output.stdout, flush=True)
    print("late too", file=output.stderr)
    assert published.text() == "cell"
    assert capfd.readouterr() == ("late é\n", "late too\n")


def test_echo(published: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    """With `quiet: false` the terminal would stay empty."""
    output = Output(published, echo={"stdout": sys.stdout, "stderr": sys.stderr})
    output.stdout.write("out\n")
    output.stderr.write("err\n")
    output.close()
    assert capsys.readouterr() == ("out\n", "err\n")
    assert published.text() == "out\nerr\n"


def test_it_is_a_stream_as_libraries_expect_it(output: Output, published: Recorder) -> None:
    """Libraries that look at `sys.stdout` would fail."""
    stream = output.stdout
    with pytest.raises(TypeError, match="must be str, not int"):
        stream.write(3)  # pyright: ignore[reportArgumentType]
    assert stream.write("añ") == 2
    stream.writelines(["1", "2"])
    assert (stream.encoding, stream.isatty(), stream.writable(), stream.readable()) == ("utf-8", False, True, False)
    assert (stream.fileno(), output.stderr.fileno(), stream.name) == (1, 2, "<stdout>")
    assert stream.buffer.write("é".encode()) == 2
    stream.close()
    assert not stream.closed
    print("!", file=stream, end="", flush=True)
    assert published.text() == "añ12é!"


def test_nothing_runs_while_nothing_is_printed() -> None:
    """An idle kernel would wake up again and again."""
    before = threading.active_count()
    output = Output(Recorder())
    assert threading.active_count() == before
    assert not output.due
    output.close()
