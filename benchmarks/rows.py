"""What is measured: each row of the table with its targets, and the measures by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks import measures, side_by_side, volume
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
    """One line of the table: a statistic of the samples kept under `samples`."""

    title: str
    samples: str
    unit: str
    targets: tuple[Target, ...] = ()
    statistic: str = "median"


ROWS = (
    Row("spawn → kernel_info_reply", "kernel_info", "ms", (Target(0.35),)),
    Row("spawn → first execute_reply", "first_execute", "ms", (Target(0.45),)),
    Row("CPU time until the first execute_reply", "cpu_ready", "ms", (Target(0.5),)),
    Row("CPU time, half a second later", "cpu_settled", "ms"),
    Row("resident memory, idle", "rss", "MiB", (Target(0.8),)),
    Row("shutdown request → process gone", "gone", "ms", (Target(0.4),)),
    Row("round trip `pass`", "pass", "ms", (Target(0.22), Target(2.5, "limit"))),
    Row("round trip `pass`, p99", "pass", "ms", statistic="p99"),
    Row("round trip `pass`, p99 ÷ median", "pass", "", (Target(4, ""),), "tail"),
    Row("round trip `1+1`", "sum", "ms", (Target(0.25),)),
    Row("round trip `1+1`, p99", "sum", "ms", statistic="p99"),
    Row("1,000 requests at once", "burst", "/s", (Target(9, at_least=True),)),
    Row("20,000 `print(i)`", "print", "ms", (Target(0.2),)),
    Row("20,000 `print(i)`: messages", "print_messages", "", (Target(100, ""),)),
    Row("kernel_info on control, a cell sleeps", "control_sleeping", "ms", (Target(0.3),)),
    Row("kernel_info on control, a cell computes", "control_computing", "ms", (Target(0.25),)),
    Row("kernel_info on control, a cell computes, p99", "control_computing", "ms", (Target(20, ""),), "p99"),
    Row("200 cells of `await sleep(0.05)` as tasks, ÷ 0.05 s", "tasks", "", (Target(4, ""),)),
    Row("50 clients, 20 round trips each", "clients", "/s", (Target(5, at_least=True),)),
    Row("complete, a cell sleeps", "complete_sleeping", "ms", (Target(0.8, BEST),)),
    Row("5 shells `sleep(0.5)` at once, ÷ 0.5 s", "shells", "", (Target(1.05, ""),)),
    Row("create a subshell", "subshell_create", "ms", (Target(0.8, BEST),)),
    Row("delete a subshell", "subshell_delete", "ms", (Target(0.8, BEST),)),
    Row("comm round trip", "comm", "ms", (Target(0.4),)),
    Row("2,000 comm messages at once", "comm_burst", "ms", (Target(0.15),)),
    Row("comm: 50 MB there and back", "comm_big", "ms", (Target(1, BEST),)),
    Row("completion", "completion", "ms", (Target(0.8, BEST),)),
    Row("inspection", "inspection", "ms", (Target(0.8, BEST),)),
    Row("interrupt → idle: Python loop", "interrupt_loop", "ms", (Target(0.3),)),
    Row("interrupt → idle: `time.sleep`", "interrupt_sleep", "ms", (Target(0.3),)),
    Row("interrupt → idle: `await sleep`", "interrupt_await", "ms", (Target(10, ""),)),
    Row("print of 20 MB", "print_big", "ms", (Target(0.4),)),
    Row("4 threads printing 5,000 lines each", "print_threads", "ms", (Target(0.3),)),
    Row("4 threads: lines torn, lost or without their cell", "print_threads_wrong", "", (Target(0, ""),)),
    Row("memory grown per 1,000 cells", "growth", "MiB", (Target(0.35),)),
    Row("idle CPU", "idle_cpu", "%", (Target(0.1, ""),)),
)

MEASURES: dict[str, Callable[[RunningKernel], Samples]] = {
    each.__name__: each
    for each in (
        measures.round_trips,
        measures.burst,
        measures.prints,
        measures.control_sleeping,
        measures.control_computing,
        side_by_side.tasks,
        side_by_side.clients,
        side_by_side.complete_sleeping,
        side_by_side.shells,
        side_by_side.interrupt_loop,
        side_by_side.interrupt_sleep,
        side_by_side.interrupt_await,
        side_by_side.comms,
        side_by_side.lookups,
        side_by_side.comm_big,
        volume.print_big,
        volume.print_threads,
        volume.growth,
        volume.idle_cpu,
    )
}
"""What is measured on kernels that are up; `measures.life` has a new kernel each time."""
