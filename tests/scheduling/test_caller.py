"""`Caller`: run something in the loop of a thread, from any thread, and end everything when it stops."""

from __future__ import annotations

# pyright: reportPossiblyUnboundVariable=false
# A context manager may swallow an exception, so what is bound in a `with` block counts as possibly unbound after it.
import asyncio
import contextvars
import gc
import logging
import threading
import time
import weakref
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from async_kernel.caller import Caller
from async_kernel.errors import KernelInterruptError
from async_kernel.pending import Event, PendingCancelled
from async_kernel.scheduling import event_loops
from async_kernel.scheduling.asyncio_loop import Loop as AsyncioLoop
from async_kernel.scheduling.context import current_job
from async_kernel.scheduling.host import StartError
from async_kernel.typing import Backend, CallerState

pytestmark = pytest.mark.anyio

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="")


async def in_thread(func: Any, *args: Any) -> Any:
    """Run `func` in a plain thread of ours, without what is tested here."""
    out: list[Any] = []
    done = anyio.Event()
    token = anyio.lowlevel.current_token()

    def target() -> None:
        try:
            out.append((func(*args), None))
        except Exception as exc:  # noqa: BLE001
            out.append((None, exc))
        anyio.from_thread.run_sync(done.set, token=token)

    thread = threading.Thread(target=target)
    thread.start()
    await done.wait()
    thread.join(10)
    value, exc = out[0]
    if exc is not None:
        raise exc
    return value


class TestCalls:
    async def test_functions_and_coroutine_functions_give_their_results(self):
        async def add(a: int, b: int) -> int:
            await anyio.lowlevel.checkpoint()
            return a + b

        async with Caller("manual") as caller:
            assert await caller.call_soon(max, 1, 2) == 2
            assert await caller.call_soon(add, 1, b=2) == 3
            assert await caller.call_later(0.001, add, 1, 2) == 3
            assert await caller.call_later(0, max, 1, 2) == 2
            assert await caller.schedule_call(add, (1,), {"b": 2}) == 3

    async def test_a_plain_thread_calls_in_and_waits(self):
        async def where() -> threading.Thread:
            await anyio.lowlevel.checkpoint()
            return threading.current_thread()

        async with Caller("manual") as caller:
            for func in (threading.current_thread, where):
                assert await in_thread(lambda f: caller.call_soon(f).wait_sync(timeout=10), func) is caller.thread

    async def test_calls_start_in_the_order_they_were_made(self):
        seen: list[int] = []

        async def note(i: int) -> None:
            seen.append(i)

        async with Caller("manual") as caller:
            pendings = [caller.call_soon(note if i % 2 else seen.append, i) for i in range(0, 100, 2)]
            pendings = await in_thread(lambda: [caller.call_soon(seen.append, i) for i in range(100)])
            for pending in pendings:
                await pending
        assert seen == [*range(0, 100, 2), *range(100)]

    async def test_a_call_later_is_not_early(self):
        async with Caller("manual") as caller:
            start = time.monotonic()
            assert await caller.call_later(0.02, time.monotonic) - start >= 0.02

    async def test_context_variables_go_along_and_stay_there(self):
        async def change() -> str:
            old = var.get()
            var.set("changed")
            return old

        async with Caller("manual") as caller:
            var.set("mine")
            assert await caller.call_soon(change) == "mine"
            assert await caller.to_thread(change) == "mine"
            assert var.get() == "mine"
            context = contextvars.Context()
            context.run(var.set, "given")
            assert await caller.schedule_call(var.get, (), {}, context) == "given"
            assert context[var] == "given"

    async def test_the_job_of_a_pending_can_be_told(self):
        """The kernel shows the failure of a background call in the cell that made it."""
        job: Any = {"msg": "of the cell"}
        async with Caller("manual") as caller:
            token = current_job.set(job)
            pending = caller.call_soon(int)
            current_job.reset(token)
            await pending
            assert pending.context[current_job] is job  # pyright: ignore[reportAttributeAccessIssue]

    async def test_exceptions_are_the_pendings(self, caplog: pytest.LogCaptureFixture):
        async def fail(exc: type[BaseException]) -> None:
            raise exc

        def fail_sync(exc: type[BaseException]) -> None:
            raise exc

        async with Caller("manual") as caller:
            for exc in (ValueError, KernelInterruptError, SystemExit):
                for func in (fail, fail_sync):
                    with pytest.raises(exc):
                        await caller.call_soon(func, exc)
                    with pytest.raises(exc):
                        await caller.to_thread(func, exc)
        assert caplog.records == []

    async def test_a_failure_that_nobody_asks_for_is_reported_once_in_its_context(self):
        reports: list[tuple[str, str, str]] = []

        async def fail() -> None:
            raise ValueError("lost")

        async with Caller("manual") as caller:
            caller.excepthook = lambda exc, what: reports.append((var.get(), repr(exc), what))
            var.set("cell 1")
            child = caller.get(name="child")
            for call in (caller.call_soon, caller.to_thread, child.call_soon):
                await call(fail).wait(result=False)
            with pytest.raises(ValueError):
                await caller.call_soon(fail)
        with anyio.fail_after(20):
            while len(reports) < 3:  # The thread that ran it may be the last to let go of it.
                gc.collect()
                await anyio.sleep(0.001)
        assert [r[:2] for r in reports] == [("cell 1", "ValueError('lost')")] * 3
        assert "fail" in reports[0][2]

    async def test_results_and_reports_do_not_wait_for_the_garbage_collector(self):
        """A large result is freed, and a failure shown, when the last reference goes."""

        async def fail() -> None:
            await anyio.lowlevel.checkpoint()
            fail_sync()

        def fail_sync() -> None:
            raise ValueError("lost")

        async with Caller("manual") as caller:
            gc.collect()
            gc.disable()
            try:
                for call in (caller.call_soon, caller.to_thread, caller.queue_call):
                    funcs: list[Any] = [int, fail, fail_sync]
                    for func in funcs:
                        reported, freed = Event(), Event()
                        caller.excepthook = lambda _exc, _what, reported=reported: reported.set()
                        for child in caller.children:
                            child.excepthook = caller.excepthook
                        pending: Any = call(func)
                        ref = weakref.ref(pending, lambda _, freed=freed: freed.set())
                        await pending.wait(result=False)
                        del pending
                        assert await freed.wait_async(5), (call, func)
                        assert ref() is None
                        assert bool(reported) is (func is not int)
            finally:
                gc.enable()

    async def test_a_broken_excepthook_is_logged(self, caplog: pytest.LogCaptureFixture):
        async with Caller("manual") as caller:
            caller.excepthook = lambda _exc, _what: 1 / 0
            caller.call_direct(int, "x")
            await caller.call_soon(int)
        assert "excepthook" in caplog.text
        assert "invalid literal" in caplog.text

    async def test_the_metadata_tells_what_was_called(self):
        async with Caller("manual") as caller:
            pending = caller.schedule_call(max, (1, 2), {}, None, cell=3)
            assert pending.metadata == {"func": max, "args": (1, 2), "kwargs": {}, "caller": caller, "cell": 3}
            await pending

    async def test_current_pending_is_the_one_that_runs(self):
        async def nested() -> Any:
            return await caller.call_soon(Caller.current_pending), Caller.current_pending()

        async with Caller("manual") as caller:
            assert Caller.current_pending() is None
            for call in (caller.call_soon, caller.to_thread, caller.queue_call):
                pending = call(nested)
                inner, outer = await pending
                assert outer is pending
                assert inner is not outer
            assert Caller.current_pending() is None

    async def test_ten_thousand_pending_calls(self):
        started = 0
        go = Event()

        async def call(i: int) -> int:
            nonlocal started
            started += 1
            await go
            return i

        async with Caller("manual") as caller:
            pendings = [caller.call_soon(call, i) for i in range(10_000)]
            await anyio.wait_all_tasks_blocked()
            assert started == len(caller.live) == 10_000
            go.set()
            assert sum([await p for p in pendings]) == sum(range(10_000))
            assert not caller.live


class TestDirect:
    async def test_it_runs_in_the_loop_from_any_thread(self):
        event = Event()

        async def coroutine() -> None:
            await anyio.lowlevel.checkpoint()
            event.set()

        async with Caller("manual") as caller:
            threads: list[threading.Thread] = []
            await in_thread(caller.call_direct, lambda: threads.append(threading.current_thread()))
            caller.call_direct(coroutine)
            await event
            assert threads == [caller.thread]

    async def test_failures_are_logged_and_the_loop_lives(self, caplog: pytest.LogCaptureFixture):
        async def coroutine() -> None:
            raise ValueError("coroutine")

        def fail(exc: BaseException) -> None:
            raise exc

        async with Caller("manual") as caller:
            for exc in (ValueError("sync"), KeyboardInterrupt(), SystemExit("exit")):
                caller.call_direct(fail, exc)
            caller.call_direct(coroutine)
            await caller.call_soon(anyio.sleep, 0)
            await caller.call_soon(anyio.sleep, 0)
            gc.collect()
        for text in ("sync", "coroutine", "KeyboardInterrupt", "exit"):
            assert text in caplog.text

    async def test_one_direct_call_does_not_leak_its_context_to_the_next(self):
        """The job of one message must not become the parent of another's output."""
        seen: list[str] = []

        def note(value: str) -> None:
            seen.append(var.get())
            var.set(value)

        async with Caller("manual") as caller:
            var.set("mine")
            caller.call_direct(note, "a")
            caller.call_direct(note, "b")
            await caller.call_soon(int)
        assert seen == ["", ""]


class TestCancel:
    async def test_a_running_coroutine_is_cancelled_where_it_runs(self):
        cleaned: list[threading.Thread] = []
        started = Event()

        async def sleep() -> None:
            started.set()
            try:
                await anyio.sleep_forever()
            finally:
                cleaned.append(threading.current_thread())

        async with Caller("manual") as caller, Caller("NewThread") as other:
            for target in (caller, other):
                started = Event()
                pending = target.call_soon(sleep)
                await started
                assert pending.cancel("enough")
                assert pending.cancelled()
                with pytest.raises(PendingCancelled, match="enough"):
                    await pending
            assert cleaned == [caller.thread, other.thread]

    async def test_what_has_not_started_never_does(self):
        async def never() -> None:
            raise AssertionError

        async with Caller("manual") as caller:
            pendings = [caller.call_soon(never), caller.call_soon(int, "x"), caller.call_later(1000, never)]
            for pending in pendings:
                assert pending.cancel()
                assert pending.done()
            await caller.call_soon(int)

    async def test_cancelling_the_await_cancels_the_call(self):
        """An interrupted cell must not leave running what it waited for."""
        started = Event()

        async def sleep() -> None:
            started.set()
            await anyio.sleep_forever()

        async with Caller("manual") as caller, Caller("NewThread") as other:
            pending = other.call_soon(sleep)
            async with anyio.create_task_group() as tg:

                async def wait() -> None:
                    await pending

                tg.start_soon(wait)
                await started
                await anyio.wait_all_tasks_blocked()
                tg.cancel_scope.cancel()
            await pending.wait(result=False)
            assert pending.cancelled()
            assert not other.live
            assert not caller.live

    async def test_a_call_that_swallows_its_cancellation_is_cancelled_all_the_same(self):
        async def stubborn() -> int:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                if caller.backend is Backend.trio:
                    raise
            return 1

        async with Caller("manual") as caller:
            pending = caller.call_soon(stubborn)
            await caller.call_soon(anyio.sleep, 0)
            pending.cancel()
            with pytest.raises(PendingCancelled):
                await pending

    async def test_user_code_that_cancels_every_task_leaves_no_call_behind(self):
        """`for task in asyncio.all_tasks(): task.cancel()` is found in many a notebook."""
        async with Caller("manual") as caller:
            if caller.backend is Backend.trio:
                return
            started = caller.call_soon(anyio.sleep_forever)
            await caller.call_soon(anyio.sleep, 0)
            fresh: list[Any] = []

            def cancel_all() -> None:
                fresh.append(caller.call_soon(anyio.sleep_forever))
                caller.call_direct(cancel_rest, asyncio.all_tasks() - {asyncio.current_task()})

            def cancel_rest(before: set[Any]) -> None:
                for task in (asyncio.all_tasks() - before) | before:
                    if "TestRunner" not in repr(task) and "_run_tests" not in repr(task):
                        task.cancel()

            await caller.call_soon(cancel_all)
            for pending in (started, *fresh):
                with pytest.raises(PendingCancelled):
                    await pending.wait(timeout=5)


class TestBlocking:
    async def test_waiting_synchronously_for_ones_own_loop_is_an_error_not_a_hang(self):
        async with Caller("manual") as caller:
            for call in (caller.call_soon, caller.queue_call, lambda f: caller.call_later(0, f)):
                pending = call(int)
                with pytest.raises(RuntimeError, match="await it instead"):
                    pending.wait_sync()
                await pending
                assert pending.wait_sync() == 0
            with pytest.raises(RuntimeError, match="blocks the thread"):
                caller.stopped.wait()

            def in_worker() -> Any:
                me = Caller.current_pending()
                assert me is not None
                return me.wait_sync()

            with pytest.raises(RuntimeError, match="await it instead"):
                await caller.to_thread(in_worker)


class TestLife:
    async def test_one_caller_a_thread(self):
        async with Caller("manual", name="first") as caller:
            assert Caller() is Caller("CurrentThread") is Caller.get_current() is caller
            assert Caller(name="first") is caller
            with pytest.raises(RuntimeError, match="one Caller a thread, and this one has <Caller 'first'"):
                Caller("manual")
            with pytest.raises(ValueError, match="has name 'first', not 'second'"):
                Caller(name="second")
        second, third = Caller("manual"), Caller("manual")
        async with second:
            with pytest.raises(RuntimeError, match="one Caller a thread"):
                await third.__aenter__()

    async def test_the_current_threads_caller_starts_by_itself(self):
        caller = Caller()
        assert caller.state is CallerState.start_sync
        assert await caller.call_soon(threading.current_thread) is threading.current_thread()
        assert caller.running
        caller.stop()
        await caller.stopped
        other = Caller()
        assert other is not caller
        async with other:
            assert other.running
        assert other.state is CallerState.stopped

    async def test_start_sync_starts_a_manual_one(self):
        caller = Caller("manual")
        assert caller.state is CallerState.initial
        caller.start_sync()
        assert await caller.call_soon(int) == 0
        with pytest.raises(RuntimeError, match="was started already"):
            caller.start_sync()
        caller.stop()
        await caller.stopped

    async def test_calls_made_before_the_start_run_at_the_start(self):
        caller = Caller("manual")
        pending = caller.call_soon(int)
        async with caller:
            assert await pending == 0

    async def test_the_main_threads_caller(self):
        async with Caller("NewThread") as other:
            if threading.current_thread() is threading.main_thread():
                with pytest.raises(RuntimeError, match="the main thread has none"):
                    await other.call_soon(Caller, "MainThread")
                async with Caller("manual") as caller:
                    assert await other.call_soon(Caller, "MainThread") is caller

    async def test_stop_cancels_the_body_and_all_that_runs(self):
        started: list[str] = []
        cancelled: list[str] = []

        async def sleep(name: str) -> None:
            started.append(name)
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.append(name)

        async with Caller("manual") as caller:
            caller.call_soon(sleep, "task")
            caller.to_thread(sleep, "thread")
            caller.queue_call(sleep, "queue", key=1)
            waiting = caller.queue_call(sleep, "never", key=1)
            child = caller.get(name="child")
            child.call_soon(sleep, "child")
            grandchild = child.get(name="grandchild")
            while len(started) < 4:
                await caller.call_soon(anyio.sleep, 0)
            await grandchild.started
            thread = threading.Thread(target=caller.stop)
            thread.start()
            await sleep("body")
        thread.join(10)
        assert sorted(cancelled) == ["body", "child", "queue", "task", "thread"]
        assert waiting.cancelled()
        for one in (caller, child, grandchild):
            assert one.stopped
            assert not one.running
            assert not one.live
        assert caller.children == frozenset()
        await anyio.lowlevel.checkpoint()

    async def test_a_protected_one_is_stopped_by_force_only(self):
        async with Caller("manual", protected=True) as caller:
            assert caller.stop() is CallerState.running
            assert await caller.call_soon(int) == 0
            assert caller.stop(force=True) is CallerState.stopping
            await anyio.sleep_forever()
        assert caller.stopped

    async def test_a_failing_body_ends_it_too(self):
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with Caller("manual") as caller:
                pending = caller.call_soon(anyio.sleep_forever)
                raise ZeroDivisionError
        assert caller.stopped
        assert pending.cancelled()

    async def test_a_body_cancelled_from_outside_ends_it_too(self):
        with anyio.CancelScope() as scope:
            async with Caller("manual") as caller:
                pending = caller.to_thread(anyio.sleep_forever)
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert caller.stopped
        assert pending.done()

    async def test_a_stopped_one_says_so(self):
        async with Caller("manual", name="gone") as caller:
            pass
        for call in (caller.call_soon, caller.call_direct, caller.to_thread, caller.queue_call):
            with pytest.raises(RuntimeError, match=f"{call.__name__}: <Caller 'gone': .*stopped> takes no calls"):
                call(int)
        for call in (caller.start_sync, caller.get):
            with pytest.raises(RuntimeError, match="gone"):
                call()
        with pytest.raises(RuntimeError, match="can't be started: it is stopped"):
            await caller.__aenter__()
        assert caller.stop() is CallerState.stopped

    async def test_one_that_was_never_started_can_be_stopped(self):
        caller = Caller("manual")
        pending = caller.call_soon(int)
        caller.stop()
        assert caller.stopped
        assert pending.cancelled()

    async def test_a_call_that_won_t_end_is_left_behind(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        """Shutdown is bounded: a thread that blocks must not keep the kernel alive."""
        monkeypatch.setattr(Caller, "STOP_GRACE", 0.05)
        release, blocked = threading.Event(), Event()

        def block() -> None:
            blocked.set()
            release.wait(20)

        async with Caller("manual", name="parent") as caller:
            pending = caller.to_thread(block)
            await blocked
            (worker,) = caller.children
        assert caller.stopped
        assert pending.cancelled()
        assert "left behind" in caplog.text
        release.set()
        thread = worker.thread
        assert thread is not None
        thread.join(10)
        assert worker.stopped

    async def test_options_reach_the_child(self):
        async with Caller("manual", zmq_context="zmq", log=logging.getLogger("special")) as caller:
            caller.excepthook = print
            child = caller.get(name="a")
            assert caller.get(name="a") is child
            assert caller.get(name="b") is not child
            assert (child.zmq_context, child.log, child.backend) == ("zmq", caller.log, caller.backend)
            assert (child.parent, child.excepthook) == (caller, print)
            assert child in caller.children
            other = Backend.trio if caller.backend is Backend.asyncio else Backend.asyncio
            with pytest.raises(ValueError, match=f"has backend '{caller.backend}', not '{other}'"):
                caller.get(name="a", backend=other)
            await child.started
            assert await child.call_soon(Caller.get_current) is child
            assert {caller, child} <= set(Caller.all_callers())
            child.stop()
            await child.stopped
            assert child not in caller.children

    @pytest.mark.parametrize("options", [{}, {"use_uvloop": True}, {"bad": 1}])
    async def test_a_new_thread_with_a_loop_that_does_not_start(
        self, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ):
        hooked: list[Any] = []
        monkeypatch.setattr(threading, "excepthook", hooked.append)
        if "bad" not in options:
            async with Caller("NewThread", backend="asyncio", backend_options=options) as other:
                module = await other.call_soon(lambda: type(asyncio.get_running_loop()).__module__)
                assert (module == "uvloop") is bool(options)
            return
        other = Caller("NewThread", backend="asyncio", backend_options=options)
        await other.stopped
        assert "unknown ['bad']" in str(hooked[0].exc_value)
        with pytest.raises(RuntimeError, match="has ended"):
            await other.__aenter__()

    async def test_what_waits_for_a_worker_that_cannot_start_hears_why(self, monkeypatch: pytest.MonkeyPatch):
        """No descriptors for its loop: a cell in a thread would spin for ever, and so would those after it."""
        hooked: list[Any] = []
        monkeypatch.setattr(threading, "excepthook", hooked.append)
        async with Caller("manual") as caller:
            with monkeypatch.context() as patch:
                patch.setattr(caller, "backend_options", {"bad": 1})
                for _ in range(2):
                    with pytest.raises(StartError, match=r"unknown \['bad'\]|unexpected keyword"):
                        await caller.to_thread(int)
            assert await caller.to_thread(int, "7") == 7
        assert len(hooked) == 2

    @pytest.mark.parametrize(
        ("modifier", "options", "error", "text"),
        [
            ("OldThread", {}, ValueError, "expected CurrentThread, MainThread, NewThread or manual, got 'OldThread'"),
            ("NewThread", {"backend": "curio"}, ValueError, "expected 'asyncio' or 'trio', got 'curio'"),
            ("manual", {"nme": "x"}, TypeError, r"unknown options \['nme'\]"),
        ],
    )
    async def test_bad_options_are_named(self, modifier: Any, options: Any, error: type[Exception], text: str):
        with pytest.raises(error, match=text):
            Caller(modifier, **options)

    async def test_what_is_no_function_is_named(self):
        async with Caller("manual") as caller:
            calls: list[Any] = [caller.call_soon, caller.call_direct, caller.to_thread, caller.queue_call]
            for call in calls:
                with pytest.raises(TypeError, match=f"{call.__name__}: expected a function, got 3"):
                    call(3)
            with pytest.raises(TypeError, match="delay: expected seconds, got 'soon'"):
                caller.call_later("soon", int)  # pyright: ignore[reportArgumentType]

    async def test_another_backend_than_the_running_one_is_refused(self):
        async with Caller("manual") as caller:
            mine = caller.backend
        other = Backend.trio if mine is Backend.asyncio else Backend.asyncio
        with pytest.raises(RuntimeError, match=f"this thread runs {mine}, expected {other}"):
            Caller("CurrentThread", backend=other)


def test_no_loop_says_what_to_do():
    with pytest.raises(RuntimeError, match="no event loop is running in this thread"):
        Caller()
    with pytest.raises(RuntimeError, match=r"use Caller\('NewThread'\)"):
        Caller(backend="asyncio")


def test_a_loop_that_is_closed_under_it_leaves_nobody_waiting():
    """Whoever calls the Caller of a dead loop hears of it."""

    async def start() -> Caller:
        caller = Caller()
        await caller.started
        return caller

    loop = asyncio.new_event_loop()
    caller = loop.run_until_complete(start())
    tasks = asyncio.all_tasks(loop)
    loop.close()
    pending = caller.call_soon(int)
    assert pending.cancelled()
    assert caller.stopped
    with pytest.raises(RuntimeError, match="takes no calls"):
        caller.call_soon(int)
    for task in tasks:  # Python warns of a task that is destroyed with its loop.
        task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]
        task.get_coro().close()  # pyright: ignore[reportOptionalMemberAccess]


def test_an_interrupt_while_it_posts_does_not_silence_it(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C in the middle of `call_soon` must not make every later call hang."""

    async def main() -> None:
        async with Caller("manual") as caller:
            await caller.call_soon(int)
            post, caller.loop.post = caller.loop.post, interrupt  # pyright: ignore[reportAttributeAccessIssue]
            with pytest.raises(KeyboardInterrupt):
                caller.call_soon(int)
            caller.loop.post = post  # pyright: ignore[reportAttributeAccessIssue]
            assert await caller.call_soon(int) == 0

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("async_kernel.scheduling.asyncio_loop.Loop", type("OpenLoop", (AsyncioLoop,), {}))
    event_loops.run(main)
