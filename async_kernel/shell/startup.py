"""What an IPython kernel does before the first cell: configuration files, extensions, startup files.

Nothing of IPython's application classes is imported where there is nothing to load, which is nearly always.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from IPython.core.profiledir import ProfileDir, ProfileDirError
from IPython.utils.path import get_home_dir
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from async_kernel.shell.compiler import tmp_file_prefix

__all__ = ["load_config", "open_profile", "remove_temporary", "run_startup"]

log = logging.getLogger("async_kernel")

CONFIG_FILES: Final = ("ipython_config.py", "ipython_kernel_config.py")
APP_SECTIONS: Final = ("InteractiveShellApp", "IPKernelApp")
"Where users configure what runs at startup."


def shared_dirs() -> list[str]:
    """Folders with configuration for all users, least important first."""
    system = ["/etc/ipython", "/usr/local/etc/ipython"] if os.name == "posix" else []
    return [*system, os.path.join(sys.prefix, "etc", "ipython")]


def ipython_dir() -> str:
    """The user's IPython folder: IPYTHONDIR or `~/.ipython`."""
    folder = os.environ.get("IPYTHONDIR") or os.path.join(get_home_dir(), ".ipython")
    return os.path.normpath(os.path.expanduser(folder))


def temporary_dir() -> str:
    """What takes the place of an IPython folder that can't be used."""
    return os.path.join(tmp_file_prefix(), "ipython")


def open_profile(folder: str | None, name: str = "default") -> ProfileDir:
    """The IPython profile `name`; it is made where it does not exist.

    A folder that can't be used is replaced by a temporary one: the kernel starts, and the log says what is lost.
    """
    folder = folder or ipython_dir()
    try:
        return _make_profile(folder, name)
    except (OSError, ProfileDirError) as exc:
        log.warning("the IPython profile %r in %s can't be used, history will not be saved: %s", name, folder, exc)
        os.makedirs(os.path.dirname(temporary_dir()), mode=0o700, exist_ok=True)
        return _make_profile(temporary_dir(), name)


def _make_profile(folder: str, name: str) -> ProfileDir:
    _make_private(folder)
    _make_private(os.path.join(folder, f"profile_{name}"))
    try:
        return ProfileDir.create_profile_dir_by_name(folder, name)
    except OSError:
        # The first attempt may have failed at copying a README into it, for which a full disk has no room. It is there
        # now, if empty, and IPython asks for no more.
        return ProfileDir.create_profile_dir_by_name(folder, name)


def remove_temporary(profile: ProfileDir) -> None:
    """Remove what `open_profile` has put in the place of the user's folder."""
    folder = temporary_dir()
    if os.path.dirname(profile.location) == folder:
        import shutil  # 3 ms of compressors, for a rare case

        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # The cells of a debugger are there.
            os.rmdir(os.path.dirname(folder))


def _make_private(folder: str) -> None:
    """Make `folder`, if it is missing, for its owner only: code in it is run at each start.

    Raises:
        OSError: It can't be made.
    """
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o700)


def load_config(profile: ProfileDir) -> Config:
    """The user's IPython configuration. A file that fails is left out; the log says why."""
    config = Config()
    for folder in (*shared_dirs(), profile.location):
        for name in CONFIG_FILES:
            if os.path.exists(os.path.join(folder, name)):
                try:
                    config.merge(PyFileConfigLoader(name, folder).load_config())
                except (Exception, SystemExit):
                    log.exception("the configuration file %s failed", os.path.join(folder, name))
    if "ZMQInteractiveShell" in config:  # what users of ipykernel call the shell
        config.AsyncInteractiveShell.merge(config.ZMQInteractiveShell)
    return config


def _startup_files(profile: ProfileDir) -> list[str]:
    folders = [*(os.path.join(folder, "startup") for folder in shared_dirs()), profile.startup_dir]
    return [file for folder in folders for kind in ("*.py", "*.ipy") for file in glob.glob(os.path.join(folder, kind))]


def run_startup(shell: Any, extensions: Iterable[str] = (), code: Iterable[str | Path] = ()) -> None:
    """Load extensions and run startup files, first IPython's, then those given. What fails is shown, and the rest runs.

    Args:
        shell: The shell.
        extensions: Names of IPython extensions.
        code: Code, or paths of files, to run in the user's namespace.
    """
    configured = any(name in shell.config and shell.config[name].keys() - {"async_kernel"} for name in APP_SECTIONS)
    if configured or os.environ.get("PYTHONSTARTUP") or _startup_files(shell.profile_dir):
        _try(shell, _run_app, shell)
    else:
        _find_modules_in_working_folder()
    if "store" not in shell.magics_manager.magics["line"]:
        _declare_store(shell)
    for name in extensions:
        _try(shell, shell.extension_manager.load_extension, name)
    for each in code:
        if isinstance(each, Path):
            _try(shell, shell.safe_execfile, str(each), shell.user_ns)
        else:
            _try(shell, shell.run_cell, each)
    shell.user_ns_hidden.update(shell.user_ns)
    shell._sys_modules_keys = set(sys.modules)  # what `%reset -f` keeps


def _try(shell: Any, func: Callable[..., object], *args: Any) -> None:
    try:
        func(*args)
    except (Exception, SystemExit):
        log.exception("%s failed at startup", getattr(func, "__name__", func))
        shell.showtraceback()


def _run_app(shell: Any) -> None:
    """Let IPython's startup application do what is configured."""
    from IPython.core.shellapp import InteractiveShellApp  # only where it has something to do

    config = Config(shell.config)
    names = InteractiveShellApp.class_trait_names(config=True)
    config.InteractiveShellApp.merge({name: value for name, value in config.IPKernelApp.items() if name in names})
    app: Any = InteractiveShellApp(shell=shell, config=config)
    app.profile_dir, app.ipython_dir, app.log, app.extra_args = shell.profile_dir, shell.ipython_dir, log, []
    app.init_path()
    app.init_gui_pylab()
    app.init_extensions()
    app.init_code()


def _find_modules_in_working_folder() -> None:
    """Let modules in the working folder be imported, after those of the standard library.

    Not where the user has PYTHONSAFEPATH. The interpreter's flag says nothing: our kernelspecs set it for the start.
    """
    if "" not in sys.path and not os.environ.get("PYTHONSAFEPATH"):
        names = [os.path.basename(path) for path in sys.path]
        sys.path.insert(next((i for i, name in enumerate(names) if name in {"site-packages", "dist-packages"}), 0), "")


def _declare_store(shell: Any) -> None:
    """`%store` is always there; it is loaded when it is used, unless it has something to restore now."""
    if shell.config.get("StoreMagics", {}).get("autorestore"):
        _try(shell, shell.extension_manager.load_extension, "storemagic")
    else:
        shell.magics_manager.register_lazy("store", "IPython.extensions.storemagic:StoreMagics", "line")
