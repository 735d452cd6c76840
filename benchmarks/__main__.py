"""Measure the kernels side by side, in interleaved rounds, and print the table.

python -m benchmarks [--rounds N] [--minutes M] [--only MEASURE ...] [--kernel NAME ...] [--environment NAME=FOLDER ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import environments, machine
from benchmarks.bench import Bench, progress
from benchmarks.kernels import CANDIDATES, Candidate
from benchmarks.records import figures
from benchmarks.rows import MEASURES
from benchmarks.table import report

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).parent / "results"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [candidate.name for candidate in CANDIDATES]
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="rounds that count, at most (15)")
    parser.add_argument(
        "--minutes", type=float, default=20, metavar="M", help="measures that are slow get fewer rounds, but 3 (20)"
    )
    parser.add_argument("--only", nargs="+", choices=MEASURES, metavar="MEASURE", help=f"of: {' '.join(MEASURES)}")
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


def make_environments(candidates: Sequence[Candidate], given: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """The interpreters by environment, and a note for each that can't be made here: the others go on without it."""
    folders = dict(each.split("=", 1) for each in given)
    pythons: dict[str, Path] = {}
    notes: list[str] = []
    for name in dict.fromkeys(candidate.environment for candidate in candidates):
        try:
            pythons[name] = environments.make(name, Path(folders[name]) if name in folders else None)
        except (OSError, subprocess.CalledProcessError) as error:
            if name == "ours":
                raise
            kernels = ", ".join(each.name for each in candidates if each.environment == name)
            notes.append(f"without {kernels}: its environment could not be made here ({error})")
            print(notes[-1], file=sys.stderr, flush=True)
    return pythons, notes


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    candidates = [candidate for candidate in CANDIDATES if candidate.name in options.kernel]
    pythons, notes = make_environments(candidates, options.environment)
    candidates = [candidate for candidate in candidates if candidate.environment in pythons]
    about: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": machine.commit(),
        "machine": machine.facts(),
        "rounds": options.rounds,
        "minutes": options.minutes,
    }
    with ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True)
        path = Path(stack.enter_context(folder))
        bench = Bench(candidates, pythons, path, options.rounds, options.minutes)
        stack.callback(bench.close)
        try:
            for name in MEASURES:
                if not options.only or name in options.only:
                    bench.measure(name)
        except KeyboardInterrupt:
            notes.append("the run was interrupted: rounds that had not begun are missing")
            progress("interrupted", end="\n")
    results = {**about, **results_of(bench), "notes": notes}
    print(report(results))
    save(results)
    return 130 if notes and "interrupted" in notes[-1] else 0


def results_of(bench: Bench) -> dict[str, Any]:
    """Everything that was measured, as it is written to a file."""
    ours = [candidate.name for candidate in bench.candidates if candidate.environment == "ours"]
    versions = {name: machine.versions(python) for name, python in bench.pythons.items()}
    kernels = {
        candidate.name: {
            "version": versions[candidate.environment].get(candidate.package, ""),
            "packages": versions[candidate.environment],
        }
        for candidate in bench.candidates
    }
    return {
        "kernels": kernels,
        "ours": ours,
        "rows": figures(bench.records, ours),
        "samples": {name: record.samples for name, record in bench.records.items()},
        "failures": {name: record.failures for name, record in bench.records.items()},
        "attempts": {name: record.attempts for name, record in bench.records.items()},
    }


def save(results: dict[str, Any]) -> None:
    """Write a run to results/, with the time it began as its name."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{results['date'].replace(' UTC', '').replace(' ', 'T').replace(':', '-')}.json"
    path.write_text(json.dumps(results, indent=1), "utf-8")
    print(f"\nwritten: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    sys.exit(main())
