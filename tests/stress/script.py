"""What is sent: a sequence that depends on nothing but its seed, and what each request must lead to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Output = tuple[str, str]
"""Where and what: ("stdout", text), ("display", text), ("result", text), ("comm", text), ("error", ename)."""

SETUP: Final = """
import sys, threading, time, warnings, anyio, comm
warnings.filterwarnings("ignore", "Output cache limit")  # IPython's, in whose cell the 1000th result comes
from IPython.display import display
from async_kernel import Caller
def stress_target(comm, msg):
    comm.send({"said": "opened"})
    comm.on_msg(lambda msg: comm.send({"said": msg["content"]["data"]["n"]}))
    comm.on_close(lambda msg: print("closed"))
comm.get_comm_manager().register_target("stress", stress_target)
"""


@dataclass(frozen=True)
class Step:
    """One request."""

    number: int
    client: int
    msg_type: str
    content: dict[str, Any] = field(default_factory=dict[str, Any])
    channel: str = "shell"
    slot: int | None = None
    "The subshell: in the header, or, of interrupt and delete requests, in the content."
    creates: int | None = None
    "The subshell that it makes."
    names: int | None = None
    "The number of the request that an interrupt names."
    lane: tuple[Any, ...] | None = None
    "What runs in one lane runs one after another; those of one client in the order of their numbers."
    status: str | None = "ok"
    "The status of the reply; None: there is no reply."
    outputs: tuple[Output, ...] | None = ()
    "What it publishes between busy and idle, in order; None: anything."
    shown: int = 0
    "How many `execute_input` it publishes."
    stops: bool = False
    "Where it ends in an error, what its client has sent to the same shell is aborted."
    late: bool = False
    "Where it is interrupted, some of its output may come after its idle: that of its own threads."

    def __str__(self) -> str:
        where = "" if self.slot is None else f" subshell {self.slot}"
        extra = "" if self.names is None else f" of {self.names}"
        return f"{self.number:6} client {self.client} {self.channel:7} {self.msg_type}{extra}{where} {self.content}"


Flavour = Callable[[int, random.Random], tuple[str, list[Output]]]


def _lines(n: int, chance: random.Random) -> tuple[str, list[Output]]:
    count = chance.choice((2, 30, 400))
    return f"for i in range({count}): print({n}, i)", [("stdout", "".join(f"{n} {i}\n" for i in range(count)))]


def _mixed(n: int, _: random.Random) -> tuple[str, list[Output]]:
    code = f"print({n})\nprint('e{n}', file=sys.stderr)\ndisplay({n})\nprint('after')\n{n} + 1"
    outputs = [("stdout", f"{n}\n"), ("stderr", f"e{n}\n"), ("display", str(n)), ("stdout", "after\n")]
    return code, [*outputs, ("result", str(n + 1))]


def _thread(n: int, _: random.Random) -> tuple[str, list[Output]]:
    code = f"_t{n} = threading.Thread(target=print, args=({n},)); _t{n}.start(); _t{n}.join(); del _t{n}"
    return code, [("stdout", f"{n}\n")]


CELLS: Final[tuple[Flavour, ...]] = (
    lambda n, _: (f"print({n})", [("stdout", f"{n}\n")]),
    lambda n, _: (f"{n}", [("result", f"{n}")]),
    lambda n, _: ("pass", []),
    lambda n, _: (
        f"print({n}, 'a'); await anyio.sleep(0); print({n}, 'b')",
        [("stdout", f"{n} a\n{n} b\n")],
    ),
    lambda n, c: (
        f"print({n}); await anyio.sleep({c.choice((0.001, 0.01, 0.03))}); print('end')",
        [("stdout", f"{n}\nend\n")],
    ),
    lambda n, _: (f"await Caller.get_current().to_thread(print, {n})", [("stdout", f"{n}\n")]),
    _lines,
    _mixed,
    _thread,
)
RARE: Final[tuple[Flavour, ...]] = (
    lambda n, c: (
        f"print({n}); time.sleep({c.choice((0.001, 0.01, 0.02))}); print('end')",
        [("stdout", f"{n}\nend\n")],
    ),
    lambda n, _: (f"print(input('{n}? '))", [("stdout", f"answer to {n}? \n")]),
    lambda n, c: (f"sum(range({c.choice((10_000, 300_000))})); print({n})", [("stdout", f"{n}\n")]),
)

QUESTIONS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("complete_request", {"code": "threading.Thr", "cursor_pos": 13}),
    ("complete_request", {"code": "pri", "cursor_pos": 3}),
    ("inspect_request", {"code": "print", "cursor_pos": 3, "detail_level": 0}),
    ("is_complete_request", {"code": "for i in x:"}),
    ("history_request", {"hist_access_type": "tail", "n": 3, "output": False, "raw": True}),
    ("kernel_info_request", {}),
    ("comm_info_request", {"target_name": "stress"}),
)
STATUS: Final = {"is_complete_request": "incomplete"}


DEBUG: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("debugInfo", {}),
    ("dumpCell", {"code": "print('never run')"}),
    ("inspectVariables", {}),
    ("richInspectVariables", {"variableName": "stress_target"}),
    ("modules", {}),
)
"What a debugger may ask before a session has begun."


class Script:
    """The requests of one seed.

    Args:
        seed: Two scripts of one seed and the same other arguments are equal.
        messages: How many requests.
        clients: How many clients send them.
        plain_mode: How the profile runs a cell that does not say it: queue, task or thread.
    """

    def __init__(self, seed: int, messages: int, clients: int = 3, plain_mode: str = "queue") -> None:
        self.seed, self.messages, self.clients, self.plain_mode = seed, messages, clients, plain_mode

    def __iter__(self) -> Iterator[Step]:
        return _Writer(self, random.Random(self.seed)).steps()


class _Writer:
    """Writes the steps of a script; knows which subshells and comms there are by now."""

    def __init__(self, script: Script, chance: random.Random) -> None:
        self.script, self.chance = script, chance
        self.slots: list[int] = []
        self.gone: list[int] = []
        self.made = 0
        self.comms: list[tuple[int, str]] = []
        self.latest_cells: list[int] = []

    def steps(self) -> Iterator[Step]:
        weights: list[float] = []
        for n in range(self.script.messages):
            if n % 400 == 0:
                # Some stretches are calm: with interrupts all the time, few cells would come to their end.
                storm = self.chance.choice((0.0, 0.0, 1.0, 4.0))
                weights = [60, 14, 14, 1.5, 1.0, 3, 2, storm]
            kinds = (
                self.cell,
                self.question,
                self.comm,
                self.create,
                self.delete,
                self.refused,
                self.control,
                self.stop,
            )
            (kind,) = self.chance.choices(kinds, weights)
            yield kind(n, self.chance.randrange(self.script.clients))
        for n, slot in enumerate(self.slots, self.script.messages):
            yield Step(n, 0, "delete_subshell_request", {}, "control", slot=slot)

    def slot(self) -> int | None:
        draw = self.chance.random()
        if draw < 0.01 and self.gone:
            return self.chance.choice(self.gone)
        return self.chance.choice(self.slots) if draw < 0.3 and self.slots else None

    def cell(self, n: int, client: int) -> Step:
        chance = self.chance
        fields: dict[str, Any] = {"silent": False, "store_history": chance.random() < 0.3, "stop_on_error": False}
        fields |= {"user_expressions": {}, "allow_stdin": True}
        code, outputs = chance.choice(CELLS if chance.random() < 0.94 else RARE)(n, chance)
        options: dict[str, Any] = {"late": "threading" in code, "status": "ok"}
        if chance.random() < 0.04:
            code, outputs = f"print({n})\nraise ValueError({n})", [("stdout", f"{n}\n"), ("error", "ValueError")]
            fields["stop_on_error"] = chance.random() < 0.5
            options = {"status": "error"}
        elif chance.random() < 0.1:
            fields["stop_on_error"] = True
        slot, channel = self.slot(), "control" if chance.random() < 0.02 else "shell"
        mode = chance.choice(("", "", "", "queue", "task", "thread", "direct")) if channel == "shell" else ""
        if mode:
            code = f"{chance.choice(('# ', '##', '#'))}{mode}\n{code}"
        fields["silent"] = not mode and channel == "shell" and chance.random() < 0.05
        if "input" in code and mode != "thread":
            # An unanswered question in the loop's own thread keeps the others waiting: fine, but it is answered.
            fields["allow_stdin"] = True
        mode = mode or ("queue" if channel == "control" else "task" if fields["silent"] else self.script.plain_mode)
        shown = 0 if fields["silent"] else 1
        self.latest_cells = [*self.latest_cells[-20:], n]
        lane = (channel, slot) if mode == "queue" else None
        stops, said = fields["stop_on_error"], None if fields["silent"] else tuple(outputs)
        content = {"code": code, **fields}
        return Step(
            n, client, "execute_request", content, channel, slot, lane=lane, outputs=said, shown=shown, stops=stops,
            **options,
        )  # fmt: skip

    def question(self, n: int, client: int) -> Step:
        msg_type, content = self.chance.choice(QUESTIONS)
        status = STATUS.get(msg_type, "ok")
        return Step(n, client, msg_type, content, slot=self.slot(), status=status)

    def comm(self, n: int, client: int) -> Step:
        mine = [each for each in self.comms if each[0] == client]
        draw = self.chance.random()
        if not mine or (draw < 0.15 and len(self.comms) < 20):
            comm_id = f"comm-{self.script.seed}-{n}"
            self.comms.append((client, comm_id))
            content = {"comm_id": comm_id, "target_name": "stress", "data": {}}
            return self._comm(n, client, "comm_open", content, ("comm", "opened"))
        which = self.chance.choice(mine)
        if draw > 0.9:
            self.comms.remove(which)
            return self._comm(n, client, "comm_close", {"comm_id": which[1], "data": {}}, ("stdout", "closed\n"))
        return self._comm(n, client, "comm_msg", {"comm_id": which[1], "data": {"n": str(n)}}, ("comm", str(n)))

    @staticmethod
    def _comm(n: int, client: int, msg_type: str, content: dict[str, Any], output: Output) -> Step:
        return Step(n, client, msg_type, content, lane=("comm", content["comm_id"]), status=None, outputs=(output,))

    def create(self, n: int, client: int) -> Step:
        if len(self.slots) >= 4:
            return self.cell(n, client)
        self.made += 1
        self.slots.append(self.made)
        return Step(n, client, "create_subshell_request", {}, "control", creates=self.made)

    def delete(self, n: int, client: int) -> Step:
        if len(self.slots) < 2:
            return self.create(n, client)
        slot = self.chance.choice(self.slots)
        self.slots.remove(slot)
        self.gone.append(slot)
        return Step(n, client, "delete_subshell_request", {}, "control", slot=slot)

    def refused(self, n: int, client: int) -> Step:
        return self.chance.choice(
            (
                Step(n, client, "frobnicate_request", {}, status=None),
                Step(n, client, "list_subshell_request", {}, status="error"),
                Step(n, client, "execute_request", {"code": 3}, status="error"),
                Step(n, client, "complete_request", {"code": "x", "cursor_pos": -1}, status="error"),
                Step(n, client, "comm_msg", {"comm_id": "nobody", "data": {}}, status=None, outputs=None),
                Step(n, client, "comm_open", {"comm_id": f"x{n}", "target_name": "nobody"}, status=None, outputs=None),
            )
        )

    def control(self, n: int, client: int) -> Step:
        if self.chance.random() < 0.3:
            command, arguments = self.chance.choice(DEBUG)
            content = {"type": "request", "seq": n, "command": command, "arguments": arguments}
            return Step(n, client, "debug_request", content, "control")
        msg_type = self.chance.choice(("kernel_info_request", "list_subshell_request", "comm_info_request"))
        return Step(n, client, msg_type, {}, "control")

    def stop(self, n: int, client: int) -> Step:
        draw = self.chance.random()
        if draw < 0.4 and self.latest_cells:
            return Step(n, client, "interrupt_request", {}, "control", names=self.chance.choice(self.latest_cells))
        slot = self.chance.choice(self.slots) if draw < 0.6 and self.slots else None
        return Step(n, client, "interrupt_request", {}, "control", slot=slot)
