"""What would keep a profile from being run: all of it, and nothing that the profile names is run for this."""

from __future__ import annotations

import importlib.util
import os
import sys

from async_kernel.config.needs import missing_files
from async_kernel.config.problems import Problem, Problems
from async_kernel.config.profile import Profile

__all__ = ["faults", "lacks", "refused"]


def faults(profile: Profile) -> Problems:
    """Why `run` would refuse `profile`, though its text is in order; empty where it would not."""
    problems = missing_files(profile)
    if not profile.values["python"]:  # another interpreter has packages of its own
        if fault := lacks(profile):
            problems.append(Problem(profile.origin("backend").mark, fault))
        problems += _missing_module(profile)
    problems += _exposed(profile)
    if profile.values["settings"]:  # the kernel's other traits are the table's own
        problems += refused(profile)
    return problems


def _exposed(profile: Profile) -> Problems:
    """The problem of an address that `run` would not listen on, where no client says another."""
    values = profile.values
    if values["transport"] == "ipc":
        return []
    from async_kernel.protocol.connection_info import ConnectionInfo  # msgspec; and what starts asks in its own way
    from async_kernel.runtime.exposure import Consent, ExposureError, check_exposure

    info = ConnectionInfo.new(ip=values["ip"])
    if values["encryption"] == "required":
        info = info.replace(curve_secretkey=b"made at start")
    try:
        check_exposure(info, Consent(network=values["allow_network"]))
    except ExposureError as error:
        return [Problem(profile.origin_of(error.key).mark, str(error))]
    return []


def _missing_module(profile: Profile) -> Problems:
    """The problem of a `kernel_factory` whose package is not there; nothing is imported to see it."""
    factory: str = profile.values["kernel_factory"]
    package = factory.rpartition(":")[0].partition(".")[0]
    if not factory or "/" in factory or os.sep in factory or importlib.util.find_spec(package) is not None:
        return []
    message = f"kernel_factory {factory!r} can't be loaded: ModuleNotFoundError: No module named {package!r}"
    return [Problem(profile.origin("kernel_factory").mark, message)]


def lacks(profile: Profile) -> str:
    """What `profile` needs and this interpreter has not, with the remedy; empty where nothing is missing."""
    backend = profile.values["backend"]
    if backend == "asyncio" or importlib.util.find_spec(backend) is not None:
        return ""
    said = profile.origin("backend")
    return (
        f"backend {backend!r} ({said.mark}) needs the package {backend!r}, which {sys.executable} does not have: "
        f"{sys.executable} -m pip install {backend}"
    )


def refused(profile: Profile) -> Problems:
    """All the settings of `profile` that the kernel would refuse, where they were written.

    What makes a kernel of its own (`kernel_factory`) knows its settings; it is the user's code, and not run for this.
    """
    from async_kernel.kernel import Kernel
    from async_kernel.runtime import settings
    from async_kernel.shell.interactive import AsyncInteractiveShell

    if profile.values["kernel_factory"]:
        return []
    errors = settings.faults(Kernel, lambda: AsyncInteractiveShell, profile.settings())
    return [Problem(profile.origin_of(error.key).mark, str(error)) for error in errors]
