"""`Debugger`: answers debug requests, from what it knows itself or through debugpy's adapter."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, Protocol, TypeAlias

from async_kernel.debugger.cells import CellFiles
from async_kernel.debugger.client import AdapterClient, Spawn, listen
from async_kernel.debugger.stack import KERNEL_RULES, users_frames
from async_kernel.debugger.variables import FIRST_REFERENCE, Variables, assignment, rich_expression
from async_kernel.errors import ClientError
from async_kernel.interfaces import Publisher
from async_kernel.protocol.content import DebugRequest, parse
from async_kernel.protocol.dap import check, failure, need, success
from async_kernel.protocol.jsonable import unpack
from async_kernel.typing import Content, Message, MsgType

__all__ = ["Debugger", "Surroundings"]

Arguments: TypeAlias = dict[str, Any]

OURS: Final = frozenset({"connect", "host", "listen", "port", "processId", "redirectOutput", "subProcess"})
"Arguments of `attach` that say where the debuggee is and what it is: a client need not know."
NOT_PUBLISHED: Final = ("debugpySockets", "debugpyWaitingForServer", "debugpyAttach")
"Events that debugpy has invented for clients of its own."
OF_A_PAUSED_THREAD: Final = frozenset({"continue", "exceptionInfo", "goto", "next", "stackTrace", "stepIn", "stepOut"})
"debugpy does not answer some of these, or harms itself, when the thread runs."
RESUMING: Final = frozenset({"continue", "next", "stepIn", "stepOut"})
"Requests after which all threads run again."
EXCEPTION_PATHS: Final = ["Python Exceptions"]


class Surroundings(Protocol):
    """What the debugger asks of the kernel around it."""

    hash_method: str
    hash_seed: int
    cells: CellFiles

    def names(self) -> Mapping[str, Any]:
        """The user's namespace."""
        ...

    def hidden_names(self) -> Mapping[str, Any]:
        """What is in it that is not the user's."""
        ...

    def rich(self, expression: str) -> Content:
        """What IPython's `user_expressions` says of an expression: a mime bundle, or an error."""
        ...

    def idle_threads(self) -> Collection[str]:
        """The names of the workers that have nothing to do."""
        ...

    def paused(self, is_paused: bool, /) -> object:
        """Code of the user was stopped, or all of it runs again: interrupts wait meanwhile."""
        ...


class Debugger:
    """The debugger of one kernel; call it in one thread, which has a running event loop and is hidden from debugpy.

    debugpy is imported, and its adapter started, with the first `initialize`.

    Args:
        publish: Publishes each `debug_event`, in the name of the debug request that came last.
        spawn: Starts a coroutine function in the event loop of the calling thread.
        kernel: The kernel around it.
    """

    def __init__(self, publish: Publisher, spawn: Spawn, kernel: Surroundings) -> None:
        self._publish = publish
        self._spawn = spawn
        self._kernel = kernel
        self._variables = Variables(kernel.names, kernel.hidden_names)
        self._parent: Message[Any] | None = None
        self._client: AdapterClient | None = None
        self._attached = self._was_attached = False
        self._breakpoints: dict[str, list[dict[str, Any]]] = {}
        self._hook: Any = None
        self.stopped_threads: set[int] = set()
        "The threads that are paused, as debugpy numbers them."
        self._handlers: Mapping[str, Callable[[Arguments], Awaitable[Content]]] = {
            "attach": self._attach,
            "configurationDone": self._configuration_done,
            "copyToGlobals": self._copy_to_globals,
            "debugInfo": self._debug_info,
            "disconnect": self._disconnect,
            "dumpCell": self._dump_cell,
            "initialize": self._initialize,
            "inspectVariables": self._inspect_variables,
            "modules": self._modules,
            "richInspectVariables": self._rich_inspect_variables,
            "setBreakpoints": self._set_breakpoints,
            "source": self._source,
            "stackTrace": self._stack_trace,
            "terminate": self._disconnect,
            "threads": self._threads,
            "variables": self._get_variables,
        }

    async def process_request(self, msg: Message[Any], /) -> Content:
        """The content of the reply to a `debug_request`: a response of the Debug Adapter Protocol.

        One that says no success also is an error reply (`status`, `ename`, `evalue`).

        Raises:
            ContentError: The content is not even a request.
        """
        request: DebugRequest = parse(MsgType.debug_request, msg["content"])
        asked = {"seq": request.seq, "command": request.command}
        self._parent = msg
        try:
            if request.type != "request":
                raise ClientError(f"type: expected 'request', got {request.type!r}")
            check(request.command, request.arguments)
            if handler := self._handlers.get(request.command):
                answer = await handler(request.arguments)
            else:
                answer = await self._forward(request.command, request.arguments)
        except ClientError as error:
            answer = failure(asked, str(error))
        answer = {**success(asked), **answer, **asked, "request_seq": request.seq}
        if not answer["success"]:
            why = str(answer.get("message") or f"{request.command} failed")
            answer |= {"status": "error", "ename": "DebugError", "evalue": why, "traceback": [f"DebugError: {why}"]}
        return answer

    def trace_this_thread(self) -> None:
        """Let debugpy see what the calling thread runs from now on if it is attached, and only then.

        It sees the threads that were there before it, but code of the user may have ended that (pdb does). When it is
        not attached any more it goes on tracing, which makes code several times slower.
        """
        if self._attached or self._was_attached:
            sys.modules["debugpy"].trace_this_thread(self._attached)

    async def close(self) -> None:
        """End the session, whatever it does: what is paused goes on. Idempotent."""
        client, self._client = self._client, None
        self._ended()
        if client is not None:
            await client.close()

    # The session

    async def _initialize(self, arguments: Arguments) -> Content:
        if self._client is not None:  # A client that has lost its state begins anew.
            await self._disconnect({})
        client = AdapterClient(self._spawn, self._on_event, self._on_lost)
        await client.connect(await listen())
        self._client = client
        answer = await client.request("initialize", {"adapterID": "debugpy", **arguments})
        if not answer.get("success"):
            await self.close()
        return answer

    async def _attach(self, arguments: Arguments) -> Content:
        if self._client is None:
            raise ClientError("attach: there is no debug session: send initialize first")
        if self._attached:
            raise ClientError("attach: the debugger is attached already")
        host, port = await listen()
        given = {name: value for name, value in arguments.items() if name not in OURS}
        answer = await self._client.attach(
            {
                **given,
                "connect": {"host": host, "port": port},
                "rules": [*(given.get("rules") or []), *KERNEL_RULES],
                "redirectOutput": False,
                "subProcess": False,
            }
        )
        if answer.get("success"):
            self._attached = self._was_attached = True
            self._hook = sys.breakpointhook
            if "PYTHONBREAKPOINT" not in os.environ:
                sys.breakpointhook = sys.modules["debugpy"].breakpoint
        return answer

    async def _configuration_done(self, _: Arguments) -> Content:
        self._session("configurationDone")  # It was said to debugpy when the debugger was attached.
        return {}

    async def _disconnect(self, _: Arguments) -> Content:
        client, self._client = self._client, None
        if client is None:
            raise ClientError("disconnect: there is no debug session")
        try:
            return await client.disconnect()
        finally:
            self._ended()
            await client.close()

    def _session(self, command: str) -> AdapterClient:
        if self._client is None or not self._attached:
            raise ClientError(f"{command}: the debugger is not attached: send initialize and attach first")
        return self._client

    async def _forward(self, command: str, arguments: Arguments) -> Content:
        client = self._session(command)
        if command in OF_A_PAUSED_THREAD and arguments["threadId"] not in self.stopped_threads:
            paused = ", ".join(map(str, sorted(self.stopped_threads))) or "none"
            raise ClientError(f"{command}: threadId: {arguments['threadId']} is not paused (paused are: {paused})")
        if command not in RESUMING:
            return await client.request(command, arguments)
        paused = self.stopped_threads
        self._pause(set())  # Before it is said to debugpy: the next stop may be quicker than the response.
        answer = await client.request(command, arguments)
        if not answer.get("success"):
            self._pause(paused)
        return answer

    def _on_event(self, event: dict[str, Any]) -> None:
        name, body = event["event"], event.get("body") or {}
        if name == "stopped":
            self._pause({*self.stopped_threads, body.get("threadId", 0)})
        elif name == "continued" and body.get("allThreadsContinued", True):
            self._pause(set())
        elif name == "terminated":
            self._spawn(self.close)
        elif name in ("continued", "thread") and body.get("reason") != "started":
            self._pause(self.stopped_threads - {body.get("threadId")})
        if name not in NOT_PUBLISHED and not (name == "output" and body.get("category") == "telemetry"):
            self._publish("debug_event", event, parent=self._parent)

    def _on_lost(self, reason: str) -> None:
        if self._client is not None:  # Else it was ended here.
            self._client = None
            was_attached = self._attached
            self._ended()
        else:
            was_attached = False
        if was_attached:
            output = {"category": "important", "output": f"{reason}\n"}
            for name, body in (("output", output), ("terminated", {})):
                event = {"seq": 0, "type": "event", "event": name, "body": body}
                self._publish("debug_event", event, parent=self._parent)

    def _ended(self) -> None:
        self._attached = False
        self._breakpoints.clear()
        self._pause(set())
        if self._hook is not None:
            sys.breakpointhook, self._hook = self._hook, None

    def _pause(self, stopped: set[int]) -> None:
        was_paused, self.stopped_threads = bool(self.stopped_threads), stopped
        if was_paused != bool(stopped):
            self._kernel.paused(bool(stopped))

    # What Jupyter adds to the protocol

    async def _debug_info(self, _: Arguments) -> Content:
        kernel, cells = self._kernel, self._kernel.cells
        return _body(
            isStarted=self._attached,
            hashMethod=kernel.hash_method,
            hashSeed=kernel.hash_seed,
            tmpFilePrefix=cells.prefix,
            tmpFileSuffix=cells.suffix,
            breakpoints=[{"source": path, "breakpoints": each} for path, each in self._breakpoints.items()],
            stoppedThreads=sorted(self.stopped_threads),
            richRendering=True,
            exceptionPaths=EXCEPTION_PATHS,
            copyToGlobals=True,
        )

    async def _dump_cell(self, arguments: Arguments) -> Content:
        return _body(sourcePath=self._kernel.cells.dump(arguments["code"]))

    async def _source(self, arguments: Arguments) -> Content:
        content = self._kernel.cells.read(need("source", arguments["source"], "path", "source.path"))
        return _body(content=content, mimeType="text/x-python")

    async def _inspect_variables(self, _: Arguments) -> Content:
        return _body(variables=self._variables.inspect())

    async def _get_variables(self, arguments: Arguments) -> Content:
        reference = arguments["variablesReference"]
        if reference < FIRST_REFERENCE:
            return await self._forward("variables", arguments)
        start, count = _range(arguments, "start", "count")
        return _body(variables=self._variables.children(reference, start, count))

    async def _rich_inspect_variables(self, arguments: Arguments) -> Content:
        expression = arguments["variableName"]
        if arguments.get("frameId") is None or not self.stopped_threads:
            found = self._kernel.rich(expression)
            if found["status"] != "ok":
                raise ClientError(f"richInspectVariables: {expression}: {found['ename']}: {found['evalue']}")
            return _body(data=found["data"], metadata=found["metadata"])
        answer = await self._evaluate(rich_expression(expression), arguments["frameId"], "clipboard")
        if not answer.get("success"):
            return answer
        result = answer["body"]["result"]
        try:
            data, metadata = unpack(ast.literal_eval(result))
        except (ValueError, SyntaxError) as error:  # The `repr` of an exception: in this context it is a result.
            raise ClientError(f"richInspectVariables: {expression}: {result}") from error
        return _body(data=data, metadata=metadata)

    async def _copy_to_globals(self, arguments: Arguments) -> Content:
        expression = assignment(arguments["dstVariableName"], arguments["srcVariableName"])
        return await self._evaluate(expression, arguments["srcFrameId"], "repl")

    async def _evaluate(self, expression: str, frame: int, context: str) -> Content:
        return await self._forward("evaluate", {"expression": expression, "frameId": frame, "context": context})

    async def _modules(self, arguments: Arguments) -> Content:
        start, count = _range(arguments, "startModule", "moduleCount")
        files = {name: getattr(module, "__file__", None) for name, module in sys.modules.copy().items()}
        found = [
            {"id": number, "name": name, "path": path}
            for number, (name, path) in enumerate(files.items())
            if isinstance(path, str) and path.endswith(".py")
        ]
        return _body(modules=found[start : start + count if count else None], totalModules=len(found))

    # What is the protocol's, with a difference

    async def _set_breakpoints(self, arguments: Arguments) -> Content:
        client = self._session("setBreakpoints")
        path = need("setBreakpoints", arguments["source"], "path", "source.path")
        asked = arguments.get("breakpoints") or []
        if asked and not is_file(path):
            raise ClientError(f"setBreakpoints: there is no file {path!r}: send dumpCell first if it is a cell")
        answer = await client.request("setBreakpoints", arguments)
        if answer.get("success"):
            given = answer["body"].get("breakpoints", [])
            kept = [
                {**wish, "line": got.get("line", wish.get("line"))}
                for wish, got in zip(asked, given, strict=False)
                if got.get("verified")
            ]
            self._breakpoints.pop(path, None)
            if kept:
                self._breakpoints[path] = kept
        return answer

    async def _threads(self, arguments: Arguments) -> Content:
        answer = await self._forward("threads", arguments)
        if answer.get("success"):
            idle = self._kernel.idle_threads()
            threads = answer["body"]["threads"]
            answer["body"]["threads"] = [each for each in threads if each["name"] not in idle]
        return answer

    async def _stack_trace(self, arguments: Arguments) -> Content:
        start, levels = _range(arguments, "startFrame", "levels")
        asked = {name: value for name, value in arguments.items() if name not in ("startFrame", "levels")}
        answer = await self._forward("stackTrace", asked)
        if answer.get("success"):
            frames = users_frames(answer["body"].get("stackFrames", []))
            shown = frames[start : start + levels if levels else None]
            answer["body"] = {**answer["body"], "stackFrames": shown, "totalFrames": len(frames)}
        return answer


def is_file(path: str) -> bool:
    """Whether it is a file that code may be in."""
    return os.path.isfile(path)


def _body(**body: Any) -> Content:
    return {"body": body}


def _range(arguments: Arguments, start: str, count: str) -> tuple[int, int]:
    """From which number on, and how many; 0: all."""
    return max(arguments.get(start) or 0, 0), max(arguments.get(count) or 0, 0)
