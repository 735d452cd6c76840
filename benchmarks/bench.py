"""All kernels in interleaved rounds, each call with a time limit, each measure with a share of the whole time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import zmq

from benchmarks.client import TimeLimitError, UnsupportedError, WrongAnswerError
from benchmarks.kernels import Candidate, RunningKernel
from benchmarks.records import Record
from benchmarks.rows import MEASURES, Measure

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from types import FrameType

FAULTS = (WrongAnswerError, TimeLimitError, ValueError, OSError, psutil.Error, zmq.ZMQError, subprocess.SubprocessError)
"What a kernel that misbehaves makes the measurement raise; `ValueError` is `Session`'s word for a wrong signature."

LIFE = 3
"How many shares of the time `life` has, which starts a kernel each time."


class Bench:
    """All kernels, and what they have shown so far.

    Args:
        candidates: The kernels.
        pythons: The interpreter of each environment.
        folder: Where kernels run and log.
        rounds: How many rounds of each measure count, at most.
        minutes: What all measures may take together; those that use up their share get fewer rounds, but three.
    """

    def __init__(
        self, candidates: Sequence[Candidate], pythons: dict[str, Path], folder: Path, rounds: int, minutes: float
    ) -> None:
        self.candidates = candidates
        self.pythons = pythons
        self.folder = folder
        self.rounds = rounds
        self.share = minutes * 60 / (len(MEASURES) - 1 + LIFE)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.records = {candidate.name: Record() for candidate in candidates}
        self.up: dict[str, RunningKernel] = {}
        self.started = time.monotonic()

    def measure(self, name: str) -> None:
        """All rounds of one measure. The first is not counted: it makes folders and fills caches."""
        measure = MEASURES[name]
        began = time.monotonic()
        counted = 0
        for number in self.numbers(self.share * (LIFE if name == "life" else 1), measure):
            for candidate in self.order(number):
                if not self.records[candidate.name].is_out(name):
                    progress(f"{name}: round {number} of {self.rounds}: {candidate.name}")
                    self.attempt(name, measure, candidate, counted=number > 0)
            counted = number
        took, total = time.monotonic() - began, time.monotonic() - self.started
        progress(f"{name}: {counted} rounds in {took:.0f} s, {total / 60:.1f} min so far", end="\n")

    def numbers(self, seconds: float, measure: Measure) -> Iterator[int]:
        """The numbers of the rounds until `seconds` are used up, the uncounted 0 first where kernels are not fresh."""
        began, first = time.monotonic(), 1 if measure.fresh else 0
        for number in range(first, self.rounds + 1):
            done = number - first
            if number > measure.least and (time.monotonic() - began) * (done + 1) / done > seconds:
                return
            yield number

    def order(self, number: int) -> list[Candidate]:
        """The candidates, another one first in each round."""
        start = number % len(self.candidates)
        return [*self.candidates[start:], *self.candidates[:start]]

    def attempt(self, name: str, measure: Measure, candidate: Candidate, *, counted: bool) -> None:
        """Take one sample; a wrong or missing answer is noted as a failure, and costs the kernel its life."""
        record = self.records[candidate.name]
        try:
            if measure.fresh or name == "life":
                self.end(candidate)
            with limit(measure.limit):
                kernel = self.kernel(candidate, warm=name != "life")
                record.add(name, measure.take(kernel), counted=counted)
        except UnsupportedError:
            record.unsupported.add(name)
        except FAULTS as error:
            known = isinstance(error, (WrongAnswerError, TimeLimitError))
            kernel = self.up.get(candidate.name)
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            record.fail(name, reason + (kernel.obituary() if kernel else ""))
            self.end(candidate)
        if name == "life":
            self.end(candidate)

    def kernel(self, candidate: Candidate, *, warm: bool) -> RunningKernel:
        """The candidate's kernel, started again where it failed before; `warm`: it has executed a cell."""
        if candidate.name not in self.up:
            python = self.pythons[candidate.environment]
            self.up[candidate.name] = RunningKernel(candidate, python, self.folder, self.context)
            if warm:
                self.up[candidate.name].warm_up()
        return self.up[candidate.name]

    def end(self, candidate: Candidate) -> None:
        if kernel := self.up.pop(candidate.name, None):
            kernel.close()

    def close(self) -> None:
        for candidate in self.candidates:
            self.end(candidate)
        self.context.term()


@contextmanager
def limit(seconds: float) -> Generator[None]:
    """Raise `TimeLimitError` in the main thread where the block takes longer; whatever it waits for is interrupted."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeLimitError(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def progress(text: str, end: str = "") -> None:
    """A line on stderr: one that is overwritten where it is a terminal, only the last of a measure elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end=end, file=sys.stderr, flush=True)
    elif end:
        print(text, file=sys.stderr, flush=True)
