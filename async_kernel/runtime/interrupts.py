"""Interrupts that escalate: wake `input()`, cancel what awaits, raise in the code that blocks a thread.

One request does all three, since each acts only where it applies: a question wakes, the callback in the event loop
finds the cells that are awaiting (it could not run otherwise), the signal handler finds the code of a cell on the
stack of the main thread, and an open `Section` is the code of a user in another thread.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from types import CodeType, FrameType
from typing import Any, Final, Protocol

from async_kernel.errors import KernelInterruptError
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.context import current_job, current_pending
from async_kernel.scheduling.sections import (
    guarded,
    in_user_code,
    interrupt_task,
    open_section,
    open_sections,
    task_error,
)
from async_kernel.threads import KernelThread
from async_kernel.typing import Job

__all__ = ["Interrupts", "Target"]

log = logging.getLogger("async_kernel")

OWN_SIGNAL_SECONDS: Final = 1.0
"An interrupt signal that comes this soon after one of ours is ours, not the terminal's."
GRACE_SECONDS: Final = 0.002
"What awaits is cancelled within this time, without a signal that would hit what just happens to run."
RETRY_SECONDS: Final = 0.01
RETRIES: Final = 500
AGAIN_SECONDS: Final = 1.0
"After this time, what an ending kernel has interrupted and what still runs is interrupted again."
STUCK_SECONDS: Final = 0.1
"An event loop that has not called us back for so long is blocked by the code that is on its stack, whose ever it is."


class Target(Protocol):
    """A request that runs."""

    @property
    def job(self) -> Job[Any]: ...
    @property
    def thread(self) -> int | None: ...
    @property
    def done(self) -> bool: ...
    @property
    def awaits(self) -> bool:
        """Whether it may be awaiting something that can be cancelled."""
        ...

    def cancel(self) -> bool:
        """Cancel what it awaits (in its event loop's thread); False where that can't be done yet."""
        ...

    def post(self, func: Callable[[], object]) -> None:
        """Call a function in its event loop's thread, soon."""
        ...


class Delivery:
    """One interrupt on its way to one target; it is taken once, by whichever way reaches it first."""

    __slots__ = ("_began", "_posted", "_taken", "cancelled", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.cancelled = False
        "Its event loop has cancelled it; that counts once the loop calls back again, which other code may prevent."
        self._began = time.monotonic()
        self._taken = False
        self._posted = math.inf

    def spares(self, job: Job[Any] | None) -> bool:
        """Whether `job` is a request that came after the interrupt: that was not meant for it."""
        return job is not None and job["received_time"] > self._began

    @property
    def open(self) -> bool:
        """Whether it is still on its way."""
        return not (self._taken or self.target.done)

    def take(self) -> None:
        """It has arrived."""
        self._taken = True

    def post(self) -> None:
        """Let the event loop cancel what the target awaits; without effect while that is asked for already."""
        if self._posted == math.inf:
            self._posted = time.monotonic()
            self.target.post(self._cancel)

    @property
    def stuck(self) -> bool:
        """Whether the event loop has not called back for long."""
        return time.monotonic() - self._posted > STUCK_SECONDS

    def _cancel(self) -> None:
        self._posted = math.inf
        if not self.open:
            return
        if self.cancelled:
            self.take()
        elif self.target.cancel():
            self.cancelled = True
            self.post()


class Interrupts:
    """Interrupts the code of users, in whatever thread it runs.

    Args:
        running: What runs now.
        wake_input: Wakes what waits for the frontend's answer to a question of that request; whether there was one.
        user_code: The code objects whose frame is on the main thread's stack exactly while a cell's code is.
        when_idle: Called (main thread) for an interrupt signal from outside while nothing runs.
        begun: Told, in any thread and in signal handlers, of how many requests are about to be interrupted.
    """

    def __init__(
        self,
        *,
        running: Callable[[], Iterable[Target]],
        wake_input: Callable[[Job[Any]], bool],
        user_code: Collection[CodeType],
        when_idle: Callable[[], None],
        begun: Callable[[int], object],
    ) -> None:
        self._running = running
        self._wake_input = wake_input
        self._user_code = frozenset(user_code) | {guarded.__code__}
        self._when_idle = when_idle
        self._begun = begun
        self._main = threading.main_thread().ident
        self._handles_signals = threading.current_thread() is threading.main_thread()
        self._on_main: tuple[Delivery, ...] = ()
        self._signalled = float("-inf")
        self._free = threading.Event()
        self._free.set()

    @property
    def held(self) -> bool:
        """Whether interrupts wait: a debugger has paused code of the user."""
        return not self._free.is_set()

    def hold(self, held: bool) -> None:
        """Let interrupts wait from now on, or deliver those that have waited; from any thread.

        One that hit a thread which a debugger has paused would end the debugger's wait, not the code's.
        """
        if held:
            self._free.clear()
        else:
            self._free.set()

    def request(self, targets: Iterable[Target] | None = None) -> bool:
        """Interrupt `targets`, or all that runs now, from any thread; returns at once, whether there was something."""
        deliveries = [Delivery(each) for each in (self._running() if targets is None else targets) if not each.done]
        if deliveries:
            self._begun(len(deliveries))
            KernelThread(target=self._insist, args=(deliveries,), name="Interrupt").start()
        return bool(deliveries)

    def request_until(self, ended: Callable[[], bool]) -> None:
        """Interrupt what runs, and what still begins to run, until `ended()`."""

        def insist() -> None:
            given: dict[int, tuple[float, Delivery]] = {}
            while not ended():
                now = time.monotonic()
                for each in self._running():
                    at, _ = given.get(id(each), (-math.inf, None))
                    # What catches it is given time to end: one that comes while an error is shown does harm only.
                    if now - at > AGAIN_SECONDS:
                        given[id(each)] = now, Delivery(each)
                        self._begin([given[id(each)][1]])
                time.sleep(RETRY_SECONDS)
                self._strike([delivery for _, delivery in given.values()])

        KernelThread(target=insist, name="InterruptAll").start()

    def on_signal(self, _signum: int, frame: FrameType | None) -> None:
        """The handler of SIGINT; raises where the code that is to be interrupted is on the stack.

        Raises:
            KernelInterruptError: In the code of the cell that blocks the main thread.
        """
        __tracebackhide__ = True  # The user's traceback ends where the user's code was.
        deliveries = [each for each in self._on_main if each.open and each.target.thread == self._main]
        if _in_cancelled_call(self._on_main) and in_user_code(frame, self._user_code):
            raise KernelInterruptError("interrupted")
        if not deliveries:
            # A signal of our own may come late; one of the terminal's begins an interrupt.
            if time.monotonic() - self._signalled > OWN_SIGNAL_SECONDS and not self.request():
                self._when_idle()
            return
        kind = KernelInterruptError if in_user_code(frame, self._user_code) else task_error(frame)
        if kind is None:
            return
        job = current_job.get()
        mine = [each for each in deliveries if each.target.job is job and not each.cancelled]
        own = mine if kind is KernelInterruptError else []
        stuck = [each for each in deliveries if each.stuck and not each.spares(job)]
        for each in own or stuck:
            # Of what the loop could not cancel this may be the cause, and these will wait for it in vain.
            if own or each.target.cancel():
                each.take()
        if own or stuck:
            raise kind("interrupted")

    def on_unheard(self) -> None:
        """A signal has come, and the main thread, whose code is in C, does not notice: ours are repeated."""
        if time.monotonic() - self._signalled > OWN_SIGNAL_SECONDS:
            self.request()

    def _insist(self, deliveries: Sequence[Delivery]) -> None:
        """Try again and again: what hits the kernel's own machinery passes, what blocks in C has to return."""
        self._free.wait()
        self._begin(deliveries)
        if any(each.target.awaits for each in deliveries):
            time.sleep(GRACE_SECONDS)
        for _ in range(RETRIES):
            self._free.wait()
            if not self._strike(deliveries):
                return
            time.sleep(RETRY_SECONDS)
        threads = {thread.ident: thread.name for thread in threading.enumerate()}
        where = sorted({threads.get(each.target.thread, "?") for each in deliveries if each.open})
        log.warning(
            "an interrupt was not taken within %g s in %s: the code blocks in C, and is interrupted when that returns",
            RETRIES * RETRY_SECONDS,
            ", ".join(where) or "a call of the cell",
        )

    def _begin(self, deliveries: Sequence[Delivery]) -> None:
        for each in deliveries:
            if self._wake_input(each.target.job):
                each.take()
            else:
                each.post()

    def _strike(self, deliveries: Sequence[Delivery]) -> bool:
        """Raise in what blocks, and ask the loops to cancel what awaits; whether something is left to be done."""
        opened = [each for each in deliveries if each.open]
        on_main = [each for each in opened if self._handles_signals and each.target.thread == self._main]
        for each in opened:
            if self._wake_input(each.target.job):
                each.take()
                continue
            each.post()
            section = None if each.target.thread is None else open_section(each.target.thread)
            if each.cancelled and not each.stuck:
                continue
            if section is not None and section.job is each.target.job:
                section.interrupt(each.take)
            elif section is None and each.stuck and each.target.thread not in (None, self._main):
                interrupt_task(each.target.thread)
        left = _calls_left(deliveries)
        if self._handles_signals and (on_main or self._main in left):
            self._on_main = tuple(deliveries)
            self._signal()
        return self._strike_calls(deliveries) or bool(opened or left)

    def _strike_calls(self, deliveries: Sequence[Delivery]) -> bool:
        """Raise in the `Caller` calls that their cells have awaited: these are cancelled by now, but may block."""
        jobs = [each.target.job for each in deliveries]
        calls = [
            each
            for each in open_sections()
            if each.cancelled and not each.struck and any(each.job is job for job in jobs)
        ]
        for each in calls:
            each.interrupt(bool)
        return bool(calls)

    def _signal(self) -> None:
        self._signalled = time.monotonic()
        if hasattr(signal, "pthread_kill") and self._main is not None:
            signal.pthread_kill(self._main, signal.SIGINT)
        else:
            signal.raise_signal(signal.SIGINT)


def _calls_left(deliveries: Sequence[Delivery]) -> set[int | None]:
    """The threads of `Caller` calls that the targets have awaited: cancelled, and not at their end."""
    jobs = [each.target.job for each in deliveries]
    return {
        caller.ident
        for caller in Caller.all_callers(running_only=False)
        for call in list(caller.live)
        if call.cancelled() and any(call.context.get(current_job) is job for job in jobs)
    }


def _in_cancelled_call(deliveries: Iterable[Delivery]) -> bool:
    """Whether the current context is that of such a call."""
    pending, job = current_pending.get(), current_job.get()
    call = None if pending is None else pending()
    return call is not None and call.cancelled() and any(each.target.job is job for each in deliveries)
