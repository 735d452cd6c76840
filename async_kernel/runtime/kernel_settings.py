"""The kernel's settings that are plain values: a trait for each, as the table of a profile's keys names it."""

from __future__ import annotations

import traitlets

__all__ = ["KernelSettings"]


class KernelSettings(traitlets.HasTraits):
    """Traits of `async_kernel.kernel.Kernel`, to be set before it is started."""

    transport = traitlets.CaselessStrEnum(["tcp", "ipc"], "tcp", help="How clients connect.")
    encryption = traitlets.CaselessStrEnum(
        ["disabled", "auto", "required"], "auto", help="CURVE: never, where the connection file has keys, or always."
    )
    allow_unsigned = traitlets.Bool(False, help="Whether to start where the connection file has no key.")
    allow_network = traitlets.Bool(False, help="Whether other computers may connect without encryption.")
    quiet = traitlets.Bool(True, help="False: stdout and stderr are echoed to the terminal of the kernel too.")
    print_kernel_messages = traitlets.Bool(True, help="Tell on stderr when the kernel starts, stops or meets an error.")
    log_level = traitlets.CaselessStrEnum(
        ["debug", "info", "warning", "error", "critical"], "warning", help="The level of the kernel's own log."
    )
    run_modes = traitlets.Dict(help="How messages are run: message type to queue, task, thread or direct.")
    history = traitlets.CaselessStrEnum(["file", "memory", "off"], "file", help="Where the history of cells is kept.")
    stdin = traitlets.CaselessStrEnum(["allow", "deny"], "allow", help="Whether cells may ask for input.")
    completer = traitlets.CaselessStrEnum(["jedi", "ipython", "off"], "jedi", help="What completes code.")
    thread_output = traitlets.CaselessStrEnum(["creator", "latest", "log"], "creator", help="Where threads print.")
    startup = traitlets.List(help="Code to run in the user namespace before the first cell.")
    extensions = traitlets.List(traitlets.Unicode(), help="IPython extensions to load.")
    subshell_namespace = traitlets.CaselessStrEnum(
        ["shared", "isolated"], "shared", help="The names a subshell has: the main shell's, or its own over those."
    )
    ipython_profile = traitlets.Unicode("default", help="The IPython profile whose startup files are run.")
    comms = traitlets.CaselessStrEnum(["shell", "subshell", "thread"], "shell", help="Where handlers of comms run.")
    gui = traitlets.CaselessStrEnum(["none", "tk", "qt"], "none", help="The GUI that the event loop runs in.")
    capture_fds = traitlets.Bool(True, help="What C code and child processes write goes to the cell too.")
    output_limit = traitlets.Int(0, min=0, help="Bytes that a cell may print and display; 0: no limit.")
