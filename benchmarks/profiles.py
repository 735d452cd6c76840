"""What a large profile costs: 200 keys in five levels of `extends`, beside the profile `default` alone.

python -m benchmarks.profiles [--rounds 15]

The loader is timed alone, in a process of its own; then whole kernels are started in interleaved rounds. Every reply is
checked, and each kernel of the large profile must have the values of its last level. What counts is the fastest of all
rounds: what else a machine does only adds to a time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zmq

from benchmarks.client import WrongAnswerError
from benchmarks.kernels import CONNECTION_FILE, Candidate, RunningKernel
from benchmarks.measures import streams

ROOT = Path(__file__).parents[1]
LEVELS, KEYS, TARGET = 5, 200, 20
"How many files, how many keys in all of them, and how many milliseconds they may cost at most."

MODES = ("complete_request", "inspect_request", "history_request", "is_complete_request", "comm_info_request")
TRAITS = {
    "automagic": True,
    "autoindent": True,
    "autocall": 0,
    "ast_node_interactivity": "last_expr",
    "cache_size": 500,
    "history_length": 2000,
    "show_rewritten_input": True,
}
"Settings of the shell that cost nothing themselves: a theme would import what colours text."


def write(folder: Path, *, flow: bool) -> Path:
    """Write the profiles; the file of the last. `flow`: lists in brackets, which need the whole of a YAML reader."""
    for level in range(LEVELS):
        (folder / f"level{level}.yaml").write_text(text_of(level, flow=flow))
    return folder / f"level{LEVELS - 1}.yaml"


def text_of(level: int, *, flow: bool) -> str:
    """One level: its share of the keys, and a value that the next level replaces."""
    lines = [f"extends: level{level - 1}" if level else "extends: default", f"description: level {level}"]
    lines += ["quiet: true", "history: memory", "stdin: allow", "cell_timeout: 60", "completer: jedi"]
    lines += ["extensions: []" if flow else "log_level: warning", "run_modes:"]
    lines += [f"  {name}: thread" for name in MODES]
    lines += ["settings:", *(f"  shell.{name}: {str(value).lower()}" for name, value in TRAITS.items())]
    lines += ["env:", f"  LEVEL: level {level}"]
    keys = sum(not line.endswith(":") for line in lines)
    lines += [f"  VARIABLE_{level}_{number}: a value of some length" for number in range(KEYS // LEVELS - keys)]
    return "\n".join(lines) + "\n"


def load_times(path: Path | str, rounds: int) -> list[float]:
    """Milliseconds to load a profile, the first time in a new process, its own imports not counted."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from async_kernel.config.profile import load_profile\n"
        "start = time.perf_counter()\n"
        f"profile = load_profile({str(path)!r})\n"
        "print((time.perf_counter() - start) * 1000)"
    )
    command = [sys.executable, "-c", code]
    return [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(rounds)]


def candidate(name: str, profile: str) -> Candidate:
    """A kernel of this checkout."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from async_kernel.__main__ import main; sys.exit(main())"
    return Candidate(name, "", ("-c", start, "run", "-f", CONNECTION_FILE, "--profile", profile))


def start(kernel: RunningKernel, expected: str) -> dict[str, float]:
    """Milliseconds until a new kernel answers, and until it has executed a cell that shows its profile."""
    client = kernel.client
    client.reply(client.request("kernel_info_request"), "shell", 15)
    ready = kernel.since_start()
    client.reply(client.execute("pass"), "shell", 15)
    executed, cpu = kernel.since_start(), kernel.cpu_seconds()
    client.discard(0.2)
    code = "k = get_ipython().kernel; print(k.history, k.shell.cache_size)"
    cell = client.execute(code)
    answer = client.run([cell])
    client.check(answer, [cell], lambda published: "".join(streams(published)).strip() == expected)
    return {"kernel_info": ready * 1000, "first_execute": executed * 1000, "CPU time by then": cpu * 1000}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.profiles", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="rounds that count (15)")
    rounds: int = parser.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        paths: dict[str, Path | str] = {"default": "default"}
        for kind in ("plain", "flow"):
            (folder / kind).mkdir()
            paths[f"200 keys, {kind}"] = write(folder / kind, flow=kind == "flow")
        show("load a profile", {kind: load_times(path, rounds) for kind, path in paths.items()})
        return contest(folder, paths, rounds)


def contest(folder: Path, paths: dict[str, Path | str], rounds: int) -> int:
    """Start the kernels in turn; 0 where the large profiles cost no more than they may."""
    samples: dict[str, dict[str, list[float]]] = {}
    context: zmq.Context[Any] = zmq.Context()
    for number in range(rounds + 1):  # the first round fills the file cache
        for kind, path in paths.items():
            kernel = RunningKernel(candidate(kind, str(path)), Path(sys.executable), folder, context)
            try:
                expected = "memory 500" if kind != "default" else "file 1000"
                times = start(kernel, expected)
            except WrongAnswerError as error:
                raise SystemExit(f"{kind}: {error}; see {kernel.log.read_text()}") from error
            finally:
                kernel.close()
            for row, milliseconds in times.items() if number else ():
                samples.setdefault(row, {}).setdefault(kind, []).append(milliseconds)
    context.term()
    for row, columns in samples.items():
        show(f"spawn → {row}", columns)
    later = [
        min(columns[kind]) - min(columns["default"])
        for columns in samples.values()
        for kind in columns
        if kind != "default"
    ]
    print(f"at most {TARGET} ms later: {'yes' if max(later) <= TARGET else 'NO'} ({max(later):.1f} ms)")
    return int(max(later) > TARGET)


def show(title: str, columns: dict[str, list[float]]) -> None:
    """One row: the fastest and the median of each, and how much later its fastest is than the first one's."""
    base = min(next(iter(columns.values())))
    cells = (
        f"{name} {min(values):.1f}, median {statistics.median(values):.1f} ms ({min(values) - base:+.1f})"
        for name, values in columns.items()
    )
    print(f"{title}: {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
