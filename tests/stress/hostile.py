"""Messages that no good client sends: broken frames, forged and replayed ones, wrong types everywhere, huge and deep.

What can't be trusted is counted and leads to nothing; what is signed and readable gets one busy, one idle and, where
its type has one, one reply, whatever it says.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
import zmq

from async_kernel.protocol.messages import reply_type
from tests.stress.drive import PATIENCE, Target, Usage, running
from tests.stress.link import DELIMITER, BrokenError, Link, Received
from tests.stress.noise import make_noise
from tests.stress.wrongs import GOOD, JUNK, TYPES, Wrong, every_wrong

GROWTH: Final = 48.0
"""MiB that the process may grow by in the second half. 10^5 signatures, which are kept to detect replays, take 10;
what is in use besides is flat (glibc's mallinfo2 and sys.getallocatedblocks say so), but the allocators keep, for each
of thirty threads, what messages of 2 MB have taken: 31 and 36 were seen on a machine with much else to do."""
GROWTH_SHORT: Final = 72.0
"The same for fewer than 5000 messages: by then, few of the threads have seen the largest."
LOGGED: Final = 200_000
"Bytes that the kernel may write to its log about what it refuses."
BATCH: Final = 100
GIANT: Final = 64 << 20
"Bytes."

CODES: Final = (
    *(
        "(" * 300,
        "-" * 5000 + "1",
        "a" + ".a" * 5000,
        "[" * 90 + "]" * 90,
        "\0",
        "\ud800".encode("utf-8", "surrogatepass"),
    ),
    *("f'{" * 20, "'''", "%" * 1000, "!" * 50, "?" * 1000, "1\\\n" * 500, "\x1b[2J", "if 1:\n" * 5, "%%nothing\n" * 3),
)
"""Text that parsers may stumble over."""

Outcome = Literal["nothing", "answer", "either"]


class Attack(NamedTuple):
    """One message and what it may lead to."""

    channel: str
    frames: list[bytes]
    outcome: Outcome
    msg_id: str = ""
    msg_type: str = ""
    replies: int = 0

    def __str__(self) -> str:
        return f"{self.outcome} on {self.channel}: {self.msg_type} {[bytes(each[:200]) for each in self.frames]}"


class Hostile:
    """The hostile messages of one seed; `link` signs them, so they differ in their ids from run to run."""

    def __init__(self, link: Link, seed: int) -> None:
        self.link, self.chance = link, random.Random(seed)
        self.wrongs: list[Wrong] = []
        self.accepted: deque[list[bytes]] = deque(maxlen=200)
        "What the kernel has answered: to be replayed."
        self.prefix, self.count = os.urandom(4).hex(), 0

    def attacks(self, count: int) -> Iterator[Attack]:
        kinds = (self.forged, self.replayed, self.unreadable, self.wrong, self.unasked, self.odd_code, self.vast)
        for _ in range(count):
            (kind,) = self.chance.choices(kinds, (20, 5, 15, 53, 2, 4, 1))
            yield kind()

    # -- what leads to nothing ----------------------------------------------------------------------------------------

    def forged(self) -> Attack:
        """A good message, spoilt after it was signed; or noise."""
        chance, frames = self.chance, list(self._good("execute_request", "shell").frames)
        match chance.randrange(6):
            case 0:  # One bit of what is signed, or of the signature.
                at = chance.randrange(1, 6)
                spoilt = bytearray(frames[at])
                spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
                frames[at] = bytes(spoilt)
            case 1:
                del frames[chance.randrange(len(frames))]
            case 2:
                at = chance.randrange(1, 5)
                frames[at], frames[at + 1] = frames[at + 1] + b" ", frames[at]
            case 3:
                frames[1] = chance.choice((b"", b"0" * 64, frames[1].upper() + b" ", chance.randbytes(64)))
            case 4:
                frames = [chance.randbytes(chance.randrange(200)) for _ in range(chance.randrange(1, 9))]
            case _:
                frames = [DELIMITER] * chance.randrange(1, 12)
        return Attack(self._any_channel(), frames, "nothing")

    def replayed(self) -> Attack:
        """What was accepted before."""
        if not self.accepted:
            return self.forged()
        return Attack(self._any_channel(), self.chance.choice(self.accepted), "nothing")

    def unreadable(self) -> Attack:
        """Signed, and no message."""
        good = self._good(self.chance.choice(TYPES), "shell").frames[2:]
        at = self.chance.randrange(4)
        bad = [b"", b"{", b"nul", b"\xff\xfe", b'{"a":}', b"{}{}", b"\0", self.chance.randbytes(20) + b"\x01"]
        if at < 3:
            bad += [b"[]", b"1", b'"x"', b"null"]
        if at == 0:
            bad += [b"{}", b'{"msg_id": 1, "msg_type": "x"}', b'{"msg_id": "x", "msg_type": []}', b'{"msg_id": "x"}']
        parts = [*good[:at], self.chance.choice(bad), *good[at + 1 :]]
        if at == 1 and parts[1] == b"{}":
            parts[1] = b"}"
        return Attack(self._any_channel(), self.link.signed(parts), "nothing")

    # -- what is answered ---------------------------------------------------------------------------------------------

    def wrong(self) -> Attack:
        """One wrong value: the whole table is sent, in the order of the seed, before anything in it comes again."""
        if not self.wrongs:
            self.wrongs = every_wrong()
            self.chance.shuffle(self.wrongs)
        wrong = self.wrongs.pop()
        header = {**self._header(wrong.msg_type), **dict(wrong.header)}
        return self._message(wrong.channel, wrong.msg_type, wrong.content, wrong.metadata, header)

    def unasked(self) -> Attack:
        """The answer to a question that nobody has asked."""
        content = self.chance.choice(({"value": "x"}, {"value": self.chance.choice(JUNK)}, {}, [], None))
        return self._message("stdin", "input_reply", content)._replace(outcome="either", replies=0)

    def odd_code(self) -> Attack:
        """Code that is hard to read."""
        msg_type = self.chance.choice(("execute_request", "complete_request", "inspect_request", "is_complete_request"))
        code = self.chance.choice(CODES)
        content = {**GOOD[msg_type], "code": "@@" if isinstance(code, bytes) else code}
        attack = self._message("shell", msg_type, content)
        if isinstance(code, bytes):  # Not UTF-8: it is read all the same.
            attack = attack._replace(frames=self.link.signed([each.replace(b"@@", code) for each in attack.frames[2:]]))
        return attack

    def vast(self) -> Attack:
        """Deep and huge; what is too deep to be read may be refused."""
        chance = self.chance
        depth = chance.choice((100, 500, 900, 950, 980, 990, 1000, 1100, 5000, 100_000))
        opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
        deep = opening * depth + b"1" + closing * depth
        huge = msgspec.json.encode(chance.choice(("x" * 2_000_000, [0] * 300_000, {str(n): n for n in range(50_000)})))
        what, msg_type = chance.choice((deep, deep, huge)), chance.choice(("comm_msg", "complete_request", "nonsense"))
        attack = self._message(
            "shell", msg_type, {**GOOD.get(msg_type, {}), "data": "@@", "code": "@@"}, {"tags": "@@"}
        )
        where = chance.randrange(3)
        frames = attack.frames[2:]
        frames[0] = frames[0].replace(b'"date":', b'"extra":"@@","date":')
        for number, part in enumerate((0, 2, 3)):
            frames[part] = frames[part].replace(b'"@@"', what if number == where else b'"x"')
        return attack._replace(frames=self.link.signed(frames), outcome="answer" if what is huge else "either")

    def giant(self, where: int) -> Attack:
        """A message of 64 MiB: a text or a list in the content or the metadata, a text in the header."""
        attack = self._message("shell", "complete_request", {**GOOD["complete_request"], "data": "@@"}, {"extra": "@@"})
        what = b'"' + b"x" * GIANT + b'"' if where % 2 or where % 3 == 2 else b"[" + b"0," * (GIANT // 2) + b"0]"
        frames = attack.frames[2:]
        frames[0] = frames[0].replace(b'"date":', b'"extra":"@@","date":')
        for number, part in enumerate((3, 2, 0)):
            frames[part] = frames[part].replace(b'"@@"', what if number == where % 3 else b'"x"')
        return attack._replace(frames=self.link.signed(frames))

    def _good(self, msg_type: str, channel: str) -> Attack:
        return self._message(channel, msg_type, GOOD.get(msg_type, {}))

    def _header(self, msg_type: str) -> dict[str, Any]:
        self.count += 1
        return self.link.header(f"{self.prefix}-{self.count}", msg_type)

    def _any_channel(self) -> str:
        return self.chance.choice(("shell", "shell", "control", "stdin"))

    def _message(
        self, channel: str, msg_type: str, content: Any, metadata: Any = None, header: dict[str, Any] | None = None
    ) -> Attack:
        header = self._header(msg_type) if header is None else header
        frames = self.link.frames(header, content, metadata)
        return Attack(channel, frames, "answer", header["msg_id"], msg_type, int(reply_type(msg_type) is not None))


class Siege:
    """Sends hostile messages and hears what comes of them."""

    def __init__(self, target: Target, seed: int) -> None:
        self.link, self.target = target.links[0], target
        self.hostile = Hostile(self.link, seed)
        self.refused = 0
        "How many messages were sent that can't be trusted."
        self.maybe = 0
        "How many others may have been counted as such."
        self._late: set[str] = set()
        "Messages that could be read or not, of which nothing was heard yet."
        self._open: dict[str, tuple[Attack, list[str]]] = {}

    def __call__(self, count: int) -> None:
        """Send so many, some at a time.

        Raises:
            BrokenError: Something came that should not, or did not come.
        """
        batch: list[Attack] = []
        for number, attack in enumerate(self.hostile.attacks(count), 1):
            batch.append(attack)
            if number % BATCH == 0 or number == count:
                self._send(batch)
                batch.clear()

    def giants(self) -> None:
        """Six messages of 64 MiB, one after another."""
        for where in range(6):
            self._send([self.hostile.giant(where)], 10 * PATIENCE)

    def _send(self, batch: list[Attack], patience: float = PATIENCE) -> None:
        for attack in batch:
            if attack.outcome == "nothing":
                self.refused += 1
            else:
                self._open[attack.msg_id] = attack, []
            self.link.send(attack.channel, attack.frames)
        # When these are answered, everything before them on their channels has been received.
        for channel in ("shell", "control"):
            end = self.hostile._good("kernel_info_request", channel)
            self._open[end.msg_id] = end, []
            self.link.send(channel, end.frames)
        self._hear(patience)

    def _hear(self, patience: float) -> None:
        """Until all is answered; `patience` in seconds."""
        deadline, poller = time.monotonic() + patience, zmq.Poller()
        for sock in self.link.sockets.values():
            poller.register(sock, zmq.POLLIN)
        while waiting := [(each, came) for each, came in self._open.values() if not self._is_over(each, came)]:
            if time.monotonic() > deadline or not poller.poll(int(patience * 1000)):
                raise BrokenError(
                    f"{len(waiting)} were not answered:\n  "
                    + "\n  ".join(f"{came} of {each}" for each, came in waiting[:5])
                )
            for channel in ("shell", "control", "stdin", "iopub"):
                for frames in self.link.read(channel):
                    self._heard(channel, self.link.decode(frames))
        for attack, came in self._open.values():
            if not came:
                self.maybe += 1
                self._late.add(attack.msg_id)
            if sorted(came) not in ([], self._due(attack)):
                raise BrokenError(f"{came} came of {attack}")
            if came and sum(map(len, attack.frames)) < 10_000:
                self.hostile.accepted.append(attack.frames)
        self._open.clear()

    def _heard(self, channel: str, message: Received) -> None:
        if message.msg_type == "iopub_welcome" or message.content == {"execution_state": "starting"}:
            return
        found = self._open.get(message.parent.get("msg_id", ""))
        if found is None and (message.foreign or message.parent.get("msg_id") in self._late):
            return
        if found is None:
            raise BrokenError(f"a {message.msg_type} on {channel} answers nothing that was sent: {message!r:.800}")
        if message.msg_type == "status":
            found[1].append(message.content["execution_state"])
        elif channel != "iopub":
            if channel != found[0].channel:
                raise BrokenError(f"a reply on {channel} to {found[0]}")
            found[1].append("reply")

    @staticmethod
    def _due(attack: Attack) -> list[str]:
        return ["busy", "idle", *["reply"] * attack.replies]

    def _is_over(self, attack: Attack, came: list[str]) -> bool:
        return len(came) >= len(self._due(attack)) or (attack.outcome == "either" and not came)


REFUSED: Final = "sum(get_ipython().kernel._running_parts.connection.wire.refused.values())"


def besiege(seed: int, count: int, profile: str, options: tuple[str, ...], folder: Path) -> str:
    """Hostile messages for a kernel of its own; what there is to say of it.

    Raises:
        BrokenError: A promise is broken.
    """
    with running(folder, 1, "--profile", profile, *options) as target:
        link, siege = target.links[0], Siege(target, seed)
        try:
            began = time.perf_counter()
            if count >= 5000:
                siege.giants()
            siege(count // 2)
            noise = make_noise(folder / "kernel.json", seed, count // 100)
            siege.maybe += noise
            # By now the allocator holds, for every thread, what the largest of them take.
            before = Usage.of(target.pid)
            siege(count - count // 2)
            seconds, after = time.perf_counter() - began, Usage.of(target.pid)
            told = link.evaluate(REFUSED)
            if not siege.refused <= told <= siege.refused + siege.maybe:
                raise BrokenError(f"{siege.refused} messages can't be trusted, {told} were counted as refused")
            if after.resident - before.resident > (GROWTH if count >= 5000 else GROWTH_SHORT):
                raise BrokenError(f"memory is not flat: {before}, then {after}")
            if (size := target.log.stat().st_size) > LOGGED:
                raise BrokenError(f"{size} bytes were logged about {count} messages")
        except BrokenError as error:
            raise BrokenError(f"{error}\n\n{target.autopsy()}") from error
        told = f"{count} hostile messages in {seconds:.1f} s, {told} refused, {size} bytes logged, {noise} times noise"
        return f"{told}; half-way {before}, then {after}"
