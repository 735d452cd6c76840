"""From a job to its handler: which mode, which lane, which thread; and what an error aborts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, ref

from async_kernel.errors import ClientError
from async_kernel.protocol.jsonable import shown
from async_kernel.protocol.messages import error_content
from async_kernel.runtime.comm_lanes import CommLane
from async_kernel.runtime.messenger import Messenger
from async_kernel.scheduling.host import StartError
from async_kernel.shell.subshells import lane
from async_kernel.typing import Content, HandlerType, Job, MsgType, RunMode, SocketID

__all__ = ["Aborts", "Dispatch", "Handlers", "Lanes"]

CONTROL_TYPES = frozenset(
    MsgType(f"{name}_request")
    for name in ("interrupt", "shutdown", "debug", "create_subshell", "delete_subshell", "list_subshell", "usage")
)
"""What is the kernel's, not a shell's: a subshell in the header means nothing to it (JEP 91)."""
COMM_TYPES = frozenset({MsgType.comm_open, MsgType.comm_msg, MsgType.comm_close})


class Handlers(Protocol):
    """What dispatch asks of the kernel; a subclass may override each of them."""

    def get_run_mode(self, msg_type: MsgType, *, socket_id: SocketID, job: Job[Any]) -> RunMode: ...
    def get_handler(self, msg_type: MsgType) -> HandlerType: ...
    def is_immediate(self, handler: HandlerType) -> bool: ...
    async def run_handler(self, handler: HandlerType, job: Job[Any], /) -> None: ...


class Lanes(Protocol):
    """What dispatch asks of a `Caller`."""

    def call_direct(self, func: Callable[..., Any], /, *args: Any) -> None: ...
    def to_thread(self, func: Callable[..., Any], /, *args: Any) -> Any: ...
    def queue_call(self, func: Callable[..., Any], /, *args: Any, key: Any) -> Any: ...


class Subshell(Protocol):
    """What dispatch asks of a subshell."""

    stopped: bool

    @property
    def caller(self) -> Lanes: ...
    def enter(self) -> bool: ...
    def leave(self) -> None: ...
    async def refuse(self, job: Job[Any], /) -> Content | None: ...


class Dispatch:
    """Starts the handler of each job where its run mode says. Called in the I/O thread.

    Args:
        handlers: The kernel.
        messenger: Answers what has no handler.
        callers: The callers of the shell and control channels.
        allowed: Whether a message type may come over a channel.
        aborts: Hears of each execute request in order of arrival.
        find: The subshell of an id; raises `ClientError` where there is none.
        accepted: Hears of each request that is about to be started, and how.
        ended: Hears of those that then could not be started.
        refuse: Hears why a request is not: `Reception.refuse`.
        comms: Runs the handlers of comms that are not for a subshell; None: as their run modes say.
    """

    def __init__(
        self,
        handlers: Handlers,
        messenger: Messenger,
        callers: Mapping[SocketID, Lanes],
        allowed: Callable[[SocketID, MsgType], bool],
        aborts: Aborts,
        find: Callable[[str], Subshell],
        accepted: Callable[[Job[Any], RunMode], object],
        refuse: Callable[..., object],
        ended: Callable[[Job[Any]], object] = lambda _: None,
        comms: CommLane | None = None,
    ) -> None:
        self._handlers = handlers
        self._messenger = messenger
        self._callers = callers
        self._allowed = allowed
        self._aborts = aborts
        self._find = find
        self._accepted = accepted
        self._refuse = refuse
        self._ended = ended
        self._comms = comms
        self._comm_calls: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def __call__(self, job: Job[Any]) -> None:
        """Start the handler of `job`; what can't be served is answered here."""
        name = job["msg"]["header"]["msg_type"]
        socket_id = job["socket_id"]
        try:
            msg_type = MsgType(name)
        except ValueError:
            self._refuse("type", "received a message of unknown type %.100r on the %s channel", name, socket_id.name)
            with self._messenger.exchange(job):
                return
        try:
            check_header(job)
            if not self._allowed(socket_id, msg_type):
                raise ClientError(f"{msg_type.value} is not served on the {socket_id.name} channel")
            mode = self._handlers.get_run_mode(msg_type, socket_id=socket_id, job=job)
            handler = self._handlers.get_handler(msg_type)
            subshell_id = None if msg_type in CONTROL_TYPES else subshell_of(job)
            subshell = None if subshell_id is None else self._find(subshell_id)
        except Exception as error:  # noqa: BLE001 - a request that can't be served is answered, whatever was wrong
            self._fail(job, error)
            return
        if msg_type is MsgType.execute_request:
            self._aborts.received(job)
        self._accepted(job, mode)
        try:
            self._start(msg_type, mode, handler, job, subshell)
        except (MemoryError, RuntimeError) as error:  # There can't be another thread now.
            self._ended(job)
            self._fail(job, error)

    def _fail(self, job: Job[Any], error: Exception) -> None:
        name, channel = job["msg"]["header"]["msg_type"], job["socket_id"].name
        self._refuse("not served", "refused %s on the %s channel: %s", name, channel, error or type(error).__name__)
        with self._messenger.exchange(job) as exchange:
            exchange.fail(error)

    def _start(
        self,
        msg_type: MsgType,
        mode: RunMode,
        handler: HandlerType,
        job: Job[Any],
        subshell: Subshell | None,
    ) -> None:
        job["run_mode"] = mode
        socket_id, run = job["socket_id"], self._handlers.run_handler
        caller = loop = self._callers[socket_id]
        if mode is RunMode.direct and self._handlers.is_immediate(handler):
            run_now(run(handler, job))
            return
        if self._comms is not None and subshell is None and msg_type in COMM_TYPES:
            self._comms(partial(run, handler, job), job)
            return
        if subshell is not None:
            if not subshell.enter():
                run_now(run(subshell.refuse, job))
                return
            run = partial(self._run_in, subshell)
            loop = subshell.caller if socket_id is SocketID.shell else caller
        # What opens and closes a comm keeps its place among the messages to it.
        if mode is RunMode.queue or (mode is RunMode.direct and msg_type in COMM_TYPES):
            self._queue(msg_type, run, handler, job, loop)
        elif mode is RunMode.thread:
            self._in_thread(run, handler, job, caller)  # The workers are those of all shells.
        else:
            loop.call_direct(run, handler, job)

    def _queue(self, msg_type: MsgType, run: Any, handler: HandlerType, job: Job[Any], loop: Any) -> None:
        key = lane(job["socket_id"], subshell_of(job), "comm" if msg_type in COMM_TYPES else "request")
        latest = self._comm_calls.get(loop)
        earlier = None if latest is None else latest()
        if msg_type is MsgType.execute_request and earlier is not None and not earlier.done():
            run = partial(_run_after, earlier, run)
        call = loop.queue_call(run, handler, job, key=key)
        if msg_type in COMM_TYPES:
            self._comm_calls[loop] = ref(call)  # It keeps its loop: nothing here may keep both.

    def _in_thread(self, run: Any, handler: HandlerType, job: Job[Any], caller: Lanes) -> None:
        """Run it in a worker. Where there can't be one (no descriptors, no threads), it is answered with the reason."""

        def refuse(error: BaseException) -> None:
            async def refusing(_: Job[Any]) -> Content | None:
                if job["msg"]["header"]["msg_type"] == MsgType.execute_request:  # Frontends show no error of a reply.
                    self._messenger.publish("error", error_content(error), parent=job["msg"])
                raise error

            run_now(run(refusing, job))

        def ended(call: Any) -> None:
            if not call.cancelled() and isinstance(error := call.exception(), StartError):
                refuse(error)

        try:
            call = caller.to_thread(run, handler, job)
        except Exception as error:  # noqa: BLE001 - whatever it was: there is somebody who waits for an answer
            refuse(error)
        else:
            call.add_done_callback(ended)

    async def _run_in(self, subshell: Subshell, handler: HandlerType, job: Job[Any]) -> None:
        try:
            await self._handlers.run_handler(subshell.refuse if subshell.stopped else handler, job)
        finally:
            subshell.leave()


async def _run_after(earlier: Any, run: Any, handler: HandlerType, job: Job[Any]) -> None:
    """A cell sees what a widget was set to before the cell was sent: it begins after the messages that came earlier."""
    await earlier.wait(protect=True, result=False)
    await run(handler, job)


def run_now(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run to its end a coroutine that never waits, in a thread that has no event loop."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} was said to be immediate, but it waits")


def check_header(job: Job[Any]) -> None:
    """Check the fields that say whose a request is, and where it is to run: what follows relies on them.

    Raises:
        ClientError: One is not a string.
    """
    header = job["msg"]["header"]
    for field in ("session", "subshell_id"):
        value = header.get(field)
        if not (value is None or isinstance(value, str)):
            raise ClientError(f"header: {field}: expected a string, got {shown(value)}")


def subshell_of(job: Job[Any]) -> str | None:
    """The subshell that the job is for; None for the main shell (JEP 91)."""
    return job["msg"]["header"].get("subshell_id")


class Aborts:
    """What an error aborts: by position, every execute request of the same client and subshell received until then."""

    CLIENTS: Final = 1000
    "So many clients, counted for each subshell, are known; of those that came last."

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[tuple[str | None, str | None], float] = {}
        self._until: dict[tuple[str | None, str | None], float] = {}

    @staticmethod
    def _origin(job: Job[Any]) -> tuple[str | None, str | None]:
        return job["msg"]["header"].get("session"), subshell_of(job)

    def received(self, job: Job[Any]) -> None:
        """An execute request has arrived."""
        origin = self._origin(job)
        with self._lock:
            self._latest.pop(origin, None)  # To the end: the one that has been silent for longest is the first.
            self._latest[origin] = job["received_time"]
            if len(self._latest) > self.CLIENTS:
                oldest = next(iter(self._latest))
                del self._latest[oldest]
                self._until.pop(oldest, None)

    def failed(self, job: Job[Any], offset: float = 0.0) -> None:
        """`job` ended in an error: abort what its client sent until now, and up to `offset` seconds after the last."""
        origin = self._origin(job)
        with self._lock:
            self._until[origin] = self._latest.get(origin, job["received_time"]) + offset

    def forget(self, subshell_id: str) -> None:
        """The subshell has ended."""
        with self._lock:
            for table in (self._latest, self._until):
                for origin in [each for each in table if each[1] == subshell_id]:
                    del table[origin]

    def covers(self, job: Job[Any]) -> bool:
        """Whether an earlier error aborts `job`."""
        with self._lock:
            return job["received_time"] <= self._until.get(self._origin(job), float("-inf"))
