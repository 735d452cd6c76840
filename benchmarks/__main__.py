"""Measure the kernels side by side, in interleaved rounds, and print the table.

python -m benchmarks [--rounds 15] [--only MEASURE ...] [--kernel NAME ...] [--environment NAME=FOLDER ...]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import zmq

from benchmarks import environments
from benchmarks.client import UnsupportedError, WrongAnswerError
from benchmarks.kernels import CANDIDATES, Candidate, RunningKernel
from benchmarks.measures import Samples, life
from benchmarks.rows import MEASURES
from benchmarks.table import Record, figures, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULTS = Path(__file__).parent / "results"
FAULTS = (WrongAnswerError, ValueError, OSError, psutil.Error, zmq.ZMQError)
"What a kernel that misbehaves makes the measurement raise; `ValueError` is `Session`'s word for a wrong signature."


class Bench:
    """All kernels, and what they have shown so far."""

    def __init__(self, candidates: Sequence[Candidate], pythons: dict[str, Path], folder: Path, rounds: int) -> None:
        self.candidates = candidates
        self.pythons = pythons
        self.folder = folder
        self.rounds = rounds
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.records = {candidate.name: Record() for candidate in candidates}
        self.up: dict[str, RunningKernel] = {}

    def start(self, candidate: Candidate) -> RunningKernel:
        return RunningKernel(candidate, self.pythons[candidate.environment], self.folder, self.context)

    def measure_lives(self) -> None:
        """New kernels, one at a time. The first of each is not counted: it makes folders and fills the file cache."""
        for number in range(self.rounds + 1):
            for candidate in self.order(number):
                progress(f"life: round {number} of {self.rounds}: {candidate.name}")
                kernel = self.start(candidate)
                try:
                    self.attempt("life", candidate, kernel, life, counted=number > 0)
                finally:
                    kernel.close()

    def measure_running(self, name: str, measure: Callable[[RunningKernel], Samples]) -> None:
        """One kernel of each is up; one at a time works. The first round is not counted."""
        for number in range(self.rounds + 1):
            for candidate in self.order(number):
                progress(f"{name}: round {number} of {self.rounds}: {candidate.name}")
                kernel = self.running(candidate, name)
                if kernel and not self.attempt(name, candidate, kernel, measure, counted=number > 0):
                    self.up.pop(candidate.name).close()

    def order(self, number: int) -> list[Candidate]:
        """The candidates, another one first in each round."""
        start = number % len(self.candidates)
        return [*self.candidates[start:], *self.candidates[:start]]

    def running(self, candidate: Candidate, measure: str) -> RunningKernel | None:
        """The candidate's kernel, started again where it failed before."""
        if candidate.name not in self.up:
            kernel = self.start(candidate)
            try:
                kernel.warm_up()
            except FAULTS as error:
                self.records[candidate.name].fail(measure, f"start: {error}")
                kernel.close()
                return None
            self.up[candidate.name] = kernel
        return self.up[candidate.name]

    def attempt(
        self,
        name: str,
        candidate: Candidate,
        kernel: RunningKernel,
        measure: Callable[[RunningKernel], Samples],
        *,
        counted: bool,
    ) -> bool:
        """Take one sample; a wrong or missing answer is noted as a failure."""
        try:
            samples = measure(kernel)
        except UnsupportedError:
            self.records[candidate.name].unsupported.add(name)
            return True
        except FAULTS as error:
            self.records[candidate.name].fail(name, f"{type(error).__name__}: {error}")
            return False
        if counted:
            self.records[candidate.name].add(name, samples)
        return True

    def close(self) -> None:
        for kernel in self.up.values():
            kernel.close()
        self.context.term()


def progress(text: str) -> None:
    """One line that is overwritten on a terminal; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [candidate.name for candidate in CANDIDATES]
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="rounds that count (15)")
    parser.add_argument(
        "--only", nargs="+", choices=["life", *MEASURES], metavar="MEASURE", help=f"of: life {' '.join(MEASURES)}"
    )
    parser.add_argument(
        "--kernel", nargs="+", choices=names, default=names, metavar="NAME", help=f"of: {', '.join(names)}"
    )
    parser.add_argument(
        "--environment",
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="an environment that exists, not one made here",
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = parse_arguments()
    candidates = [candidate for candidate in CANDIDATES if candidate.name in options.kernel]
    given = dict(each.split("=", 1) for each in options.environment)
    wanted = dict.fromkeys(candidate.environment for candidate in candidates)
    pythons = {name: environments.make(name, Path(given[name]) if name in given else None) for name in wanted}
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True))
        )
        bench = Bench(candidates, pythons, folder, options.rounds)
        stack.callback(bench.close)
        if not options.only or "life" in options.only:
            bench.measure_lives()
        for name, measure in MEASURES.items():
            if not options.only or name in options.only:
                bench.measure_running(name, measure)
    progress("")
    report(bench, options.rounds)


def report(bench: Bench, rounds: int) -> None:
    """Print the table and write everything to results/."""
    ours = [candidate.name for candidate in bench.candidates if candidate.environment == "ours"]
    stamp = time.strftime("%Y-%m-%dT%H-%M-%S")
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": psutil.cpu_count()}
    print(f"{rounds} rounds, medians; in brackets the ratio to ipykernel; Python {machine['python']}\n")
    print(table(bench.records, ours))
    data = {
        "date": stamp,
        "machine": machine,
        "rounds": rounds,
        "rows": figures(bench.records, ours),
        "samples": {name: record.samples for name, record in bench.records.items()},
        "failures": {name: record.failures for name, record in bench.records.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{stamp}.json"
    path.write_text(json.dumps(data, indent=1), "utf-8")
    print(f"written: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
