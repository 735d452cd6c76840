"""The promises of the kernel, checked for every message: the referee knows what was sent and hears all that comes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.stress.link import BrokenError, Received
from tests.stress.script import Output, Step

INTERRUPTED: Final = "KernelInterruptError"
CLOSED: Final[Output] = ("comm_close", "")


@dataclass
class Record:
    """What has happened to one request; times count what was sent and received so far."""

    step: Step
    header: dict[str, Any]
    sent: int
    state: str = "sent"
    replied: int = 0
    idle: int = 0
    reply: dict[str, Any] = field(default_factory=dict[str, Any])
    outputs: list[Output] = field(default_factory=list[Output])
    shown: int = 0
    trail: list[str] = field(default_factory=list[str])

    @property
    def over(self) -> bool:
        """Whether everything that it leads to has come."""
        return self.state == "idle" and (bool(self.replied) or self.step.status is None)


class Judge:
    """Hears of everything that is sent and received; raises `BrokenError` at the first broken promise."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.now = 0
        self.open = 0
        "How many requests are not over."
        self.ids: dict[int, str] = {}
        "Subshells by slot."
        self._busy: dict[Any, Record] = {}
        self._latest: dict[Any, int] = {}
        self._unusual: list[Record] = []
        "Requests that ended in another way than their step says: it is asked at the end whether they were allowed to."
        self._stops: list[Record] = []
        self._deleted: dict[int, int] = {}

    def sent(self, msg_id: str, step: Step, header: dict[str, Any]) -> None:
        """A request is about to be sent."""
        self.now += 1
        self.records[msg_id] = record = Record(step, header, self.now)
        self.open += 1
        if step.msg_type == "interrupt_request":
            self._stops.append(record)
        elif step.msg_type == "delete_subshell_request" and step.slot is not None:
            self._deleted[step.slot] = self.now

    def replied(self, client: int, channel: str, message: Received) -> Record:
        """A message came on shell or control."""
        self.now += 1
        record = self._of(message, f"the {channel} channel")
        record.trail.append(f"{self.now} {channel}: {message.msg_type} {_short(message.content)}")
        step = record.step
        if (client, channel) != (step.client, step.channel):
            raise self._broken(record, f"its reply came to client {client} on {channel}")
        if step.status is None or record.replied:
            raise self._broken(record, "a second reply" if record.replied else "a reply to what has none")
        if message.msg_type != step.msg_type.replace("_request", "_reply") or message.parent != record.header:
            raise self._broken(record, f"its reply is a {message.msg_type} to {message.parent}")
        record.replied, record.reply = self.now, message.content
        if step.creates is not None and message.content["status"] == "ok":
            self.ids[step.creates] = message.content["subshell_id"]
        self._settle(record)
        return record

    def published(self, message: Received) -> None:
        """A message came on iopub."""
        self.now += 1
        record = self._of(message, "iopub")
        record.trail.append(f"{self.now} iopub: {message.msg_type} {_short(message.content)}")
        if message.parent != record.header:
            raise self._broken(record, f"a {message.msg_type} has the parent {message.parent}")
        if message.msg_type == "status":
            self._status(record, message.content["execution_state"])
        elif record.state != "busy" and not (record.step.late and record in self._unusual):
            raise self._broken(record, f"a {message.msg_type} came while it was {record.state}")
        elif message.msg_type == "execute_input":
            record.shown += 1
        else:
            self._output(record, message)

    def _output(self, record: Record, message: Received) -> None:
        content, outputs = message.content, record.outputs
        match message.msg_type:
            case "stream":
                kind, text = content["name"], content["text"]
                if outputs and outputs[-1][0] == kind:
                    outputs[-1] = (kind, outputs[-1][1] + text)
                    return
            case "display_data":
                kind, text = "display", content["data"]["text/plain"]
            case "execute_result":
                kind, text = "result", content["data"]["text/plain"]
            case "error":
                kind, text = "error", content["ename"]
            case "comm_msg":
                kind, text = "comm", content["data"].get("said")
            case other:
                kind, text = other, ""
        outputs.append((kind, text))

    def _status(self, record: Record, state: str) -> None:
        if (record.state, state) not in (("sent", "busy"), ("busy", "idle")):
            raise self._broken(record, f"{state} came while it was {record.state}")
        record.state = state
        lane = record.step.lane
        if lane is None or record.step.slot in self._deleted:
            pass  # In no lane; or refused at once, because its subshell is gone.
        elif state == "busy":
            if (other := self._busy.get(lane)) is not None:
                raise self._broken(record, f"it began before {other.step.number}, of the same queue, had ended")
            self._busy[lane] = record
            mine = (lane, record.step.client)
            if record.step.number < self._latest.get(mine, -1):
                raise self._broken(record, f"it began after {self._latest[mine]}, which was sent after it")
            self._latest[mine] = record.step.number
        if state == "idle":
            if self._busy.get(lane) is record:
                del self._busy[lane]
            record.idle = self.now
            self._settle(record)

    def _settle(self, record: Record) -> None:
        """What has come to its end is compared with what its step says."""
        if not record.over:
            return
        self.open -= 1
        step, outputs = record.step, tuple(record.outputs)
        as_said = record.reply.get("status") == step.status and record.shown == step.shown
        if not as_said or (step.outputs is not None and outputs != step.outputs):
            self._unusual.append(record)

    def finish(self) -> dict[str, int]:
        """Everything has come: were those that ended in another way allowed to? How many there were, by the way."""
        counts = {"aborted": 0, "interrupted": 0, "deleted": 0}
        failed = [each for each in self.records.values() if each.step.stops and each.reply.get("status") == "error"]
        # An interrupt of a target closes its comm; what is sent there afterwards finds none.
        closed = {each.step.lane for each in self._unusual if _was_closed(each)}
        for record in self._unusual:
            late = record.step.msg_type in ("comm_msg", "comm_close") and record.step.lane in closed
            counts["interrupted" if late else self._excuse(record, failed)] += 1
        return counts

    def _excuse(self, record: Record, failed: Iterable[Record]) -> str:
        step, content, status = record.step, record.reply, record.reply.get("status")
        end = max(record.replied, record.idle)
        if status == "aborted":
            same = (each for each in failed if (each.step.client, each.step.slot) == (step.client, step.slot))
            if record.outputs or record.shown or not any(record.sent < each.replied for each in same):
                raise self._broken(record, "it was aborted, but nothing that was sent to the same shell had failed")
            return "aborted"
        if status == "error" and content["ename"] == "ClientError" and self._deleted.get(step.slot or 0, end) < end:
            if record.outputs or record.shown:
                raise self._broken(record, "refused by a subshell that is gone, it has run all the same")
            return "deleted"
        was_cut = (status == "error" and content["ename"] == INTERRUPTED) or step.msg_type.startswith("comm_")
        stops = any(self._reaches(each, record) for each in self._stops) or self._deleted.get(step.slot or 0, end) < end
        if stops and step.msg_type.startswith("comm_") and ("error", INTERRUPTED) in record.outputs:
            # `comm` triggers IPython's events around a handler: what hits one of these is shown, and it goes on.
            return "interrupted"
        if was_cut and stops and _begins(tuple(record.outputs), step.outputs):
            return "interrupted"
        raise self._broken(record, f"expected {step.status} and {step.outputs!r:.500}, got {record.outputs!r:.500}")

    def _reaches(self, stop: Record, record: Record) -> bool:
        """Whether an interrupt was meant for what it found running, and that was there then."""
        if record.sent > stop.replied or stop.sent > max(record.replied, record.idle):
            return False
        if stop.step.names is not None:
            return stop.step.names == record.step.number
        return stop.step.slot is None or stop.step.slot == record.step.slot

    def _of(self, message: Received, where: str) -> Record:
        record = self.records.get(message.parent.get("msg_id", ""))
        if record is None:
            raise BrokenError(f"a {message.msg_type} on {where} answers nothing that was sent: {message!r:.500}")
        return record

    def _broken(self, record: Record, why: str) -> BrokenError:
        return BrokenError("\n  ".join([f"{record.step}: {why}", f"sent at {record.sent}", *record.trail[:40]]))

    def missing(self) -> str:
        """What has not come, of each request that is not over."""
        waiting = [each for each in self.records.values() if not each.over]
        lines = [f"{each.step}: {each.state}, replied: {bool(each.replied)}" for each in waiting]
        return f"{len(lines)} requests are not over:\n  " + "\n  ".join(lines[:20])


def _short(content: Any) -> str:
    """A content for the report: its beginning and its end."""
    text = repr(content)
    return text if len(text) < 600 else f"{text[:300]} … {text[-300:]}"


def _was_closed(record: Record) -> bool:
    """Whether a comm was closed again while it was opened."""
    return record.step.msg_type == "comm_open" and CLOSED in record.outputs


def _begins(outputs: tuple[Output, ...], expected: tuple[Output, ...] | None) -> bool:
    """Whether `outputs`, the error apart, are the beginning of what was expected."""
    if expected is None:
        return True
    shown = [each for each in outputs if each[0] != "error" and each != CLOSED]
    if not shown:
        return True
    if len(shown) > len(expected) or tuple(shown[:-1]) != expected[: len(shown) - 1]:
        return False
    kind, text = expected[len(shown) - 1]
    return shown[-1][0] == kind and text.startswith(shown[-1][1])
