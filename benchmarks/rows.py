"""What is measured: each row of the table with its targets, and the measures by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks import commands, measures, side_by_side, volume
from benchmarks.kernels import RunningKernel
from benchmarks.measures import Samples

BEST = "best"
"In a target: the best of the kernels that ours are compared with."


class Target(NamedTuple):
    """A bound on `value ÷ that of another kernel`, or on the value itself where `of` is empty."""

    bound: float
    of: str = "ipykernel"
    at_least: bool = False


class Row(NamedTuple):
    """One line of the table: a statistic of the samples kept under `samples`, which `measure` takes."""

    title: str
    measure: str
    samples: str
    unit: str
    "Empty for a count or a quotient, which has no ratio to ipykernel's."
    targets: tuple[Target, ...] = ()
    statistic: str = "median"
    flaw: str = ""
    "Samples that must be 0 for the row's own to be a right answer; where they are not, ratios still refer to it."

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit == "/s"


ROWS = (
    Row("spawn → kernel_info_reply", "life", "kernel_info", "ms", (Target(0.35),)),
    Row("spawn → first execute_reply", "life", "first_execute", "ms", (Target(0.45),)),
    Row("CPU time until the first execute_reply", "life", "cpu_ready", "ms", (Target(0.5),)),
    Row("CPU time, half a second later", "life", "cpu_settled", "ms"),
    Row("resident memory, idle", "life", "rss", "MiB", (Target(0.8),)),
    Row("shutdown request → process gone", "life", "gone", "ms", (Target(0.4),)),
    Row("round trip `pass`", "round_trips", "pass", "ms", (Target(0.22), Target(2.5, "limit"))),
    Row("round trip `pass`, p99", "round_trips", "pass", "ms", statistic="p99"),
    Row("round trip `pass`, p99 ÷ median", "round_trips", "pass", "", (Target(4, ""),), "tail"),
    Row("round trip `1+1`", "round_trips", "sum", "ms", (Target(0.25),)),
    Row("round trip `1+1`, p99", "round_trips", "sum", "ms", statistic="p99"),
    Row("1,000 requests at once", "burst", "burst", "/s", (Target(9, at_least=True),)),
    Row("200 cells of `await sleep(0.05)` as tasks, ÷ 0.05 s", "tasks", "tasks", "", (Target(4, ""),)),
    Row("50 clients, 20 round trips each", "clients", "clients", "/s", (Target(5, at_least=True),)),
    Row("kernel_info on control, a cell sleeps", "control_sleeping", "control_sleeping", "ms", (Target(0.3),)),
    Row("kernel_info on control, a cell computes", "control_computing", "control_computing", "ms", (Target(0.25),)),
    Row(
        "kernel_info on control, a cell computes, p99",
        "control_computing",
        "control_computing",
        "ms",
        (Target(20, ""),),
        "p99",
    ),
    Row("C code holds the GIL: heartbeat", "control_locked", "heartbeat_locked", "ms", (Target(20, ""),)),
    Row("C code held the GIL: kernel_info comes later by", "control_locked", "control_locked", "ms", (Target(10, ""),)),
    Row("complete, a cell sleeps", "complete_sleeping", "complete_sleeping", "ms", (Target(0.8, BEST),)),
    Row("5 shells `sleep(0.5)` at once, ÷ 0.5 s", "shells", "shells", "", (Target(1.05, ""),)),
    Row("create a subshell", "shells", "subshell_create", "ms", (Target(0.8, BEST),)),
    Row("delete a subshell", "shells", "subshell_delete", "ms", (Target(0.8, BEST),)),
    Row("20,000 `print(i)`", "prints", "print", "ms", (Target(0.2),)),
    Row("20,000 `print(i)`: messages", "prints", "print_messages", "", (Target(100, ""),)),
    Row("print of 20 MB", "print_big", "print_big", "ms", (Target(0.4),)),
    Row("20,000 lines to a slow subscriber: lost", "print_slow", "slow_lost", "", (Target(0, ""),)),
    Row("20,000 lines to a slow subscriber: memory grown", "print_slow", "slow_grown", "MiB", (Target(64, ""),)),
    Row(
        "4 threads printing 5,000 lines each",
        "print_threads",
        "print_threads",
        "ms",
        (Target(0.3),),
        flaw="print_threads_wrong",
    ),
    Row(
        "4 threads: lines torn, lost or without their cell",
        "print_threads",
        "print_threads_wrong",
        "",
        (Target(0, ""),),
    ),
    Row("50 MB display", "display_big", "display_big", "ms", (Target(1, BEST),)),
    Row("comm: 50 MB there and back", "comm_big", "comm_big", "ms", (Target(1, BEST),)),
    Row("comm round trip", "comms", "comm", "ms", (Target(0.4),)),
    Row("2,000 comm messages at once", "comm_burst", "comm_burst", "ms", (Target(0.15),)),
    Row("completion", "lookups", "completion", "ms", (Target(0.8, BEST),)),
    Row("inspection", "lookups", "inspection", "ms", (Target(0.8, BEST),)),
    Row("interrupt → idle: Python loop", "interrupt_loop", "interrupt_loop", "ms", (Target(0.3),)),
    Row("interrupt → idle: `time.sleep`", "interrupt_sleep", "interrupt_sleep", "ms", (Target(0.3),)),
    Row("interrupt → idle: `await sleep`", "interrupt_await", "interrupt_await", "ms", (Target(10, ""),)),
    Row("memory grown per 1,000 cells", "growth", "growth", "MiB", (Target(0.35),)),
    Row("idle CPU", "idle_cpu", "idle_cpu", "%", (Target(0.1, ""),)),
    Row("50,000 names: round trip `pass`, ÷ without them", "names", "names", "", (Target(1.25, ""),)),
    Row("cell of 10,000 lines", "long_cell", "long_cell", "ms", (Target(0.5),)),
    Row("`import async_kernel`, over bare Python", "start_up", "import", "ms", (Target(40, ""),)),
    Row("`async-kernel --help`", "start_up", "help", "ms", (Target(250, ""),)),
    Row("`async-kernel list`", "start_up", "list", "ms", (Target(250, ""),)),
)


class Measure(NamedTuple):
    """Something that is measured in rounds, on a kernel that is up; `life` starts its own."""

    take: Callable[[RunningKernel], Samples]
    limit: float = 30
    "Seconds after which one call on one kernel is given up, and the kernel killed."
    fresh: bool = False
    "Whether each call has a kernel that has done nothing before: what it has in memory is not what others left there."
    least: int = 3
    "The rounds that count whatever they take."


MEASURES: dict[str, Measure] = {
    each.take.__name__: each
    for each in (
        Measure(measures.life),
        Measure(measures.round_trips),
        Measure(measures.burst),
        Measure(side_by_side.tasks),
        Measure(side_by_side.clients),
        Measure(measures.control_sleeping),
        Measure(measures.control_computing),
        Measure(measures.control_locked),
        Measure(side_by_side.complete_sleeping),
        Measure(side_by_side.shells),
        Measure(measures.prints),
        Measure(volume.print_big),
        Measure(volume.print_slow, 60, fresh=True, least=2),
        Measure(volume.print_threads),
        Measure(volume.display_big),
        Measure(side_by_side.comm_big),
        Measure(side_by_side.comms),
        Measure(side_by_side.comm_burst),
        Measure(side_by_side.lookups),
        Measure(side_by_side.interrupt_loop),
        Measure(side_by_side.interrupt_sleep),
        Measure(side_by_side.interrupt_await),
        Measure(volume.growth),
        Measure(volume.idle_cpu),
        Measure(volume.names),
        Measure(volume.long_cell),
        Measure(commands.start_up),
    )
}
