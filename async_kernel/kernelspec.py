"""Kernelspecs: written in one step, recognised as our own, and only those removed.

A kernelspec is a folder `<kernels>/<name>` with `kernel.json` and the logos
(https://jupyter-client.readthedocs.io/en/latest/kernels.html#kernel-specs). Ours names its profile and nothing more:
the truth lives in the profile.
"""

from __future__ import annotations

import inspect
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_core.paths import jupyter_data_dir, jupyter_path

from async_kernel import __version__
from async_kernel.config.discovery import SAFE_PATH, wrong_name
from async_kernel.config.problems import Problem, ProfileError, suggest
from async_kernel.config.profile import Profile, load_profile
from async_kernel.errors import SetupError
from async_kernel.factory import import_kernel_factory
from async_kernel.spec_folder import MARKER, digest, own_spec, remove_folder, sealed, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "default_logos",
    "find_kernel_spec",
    "get_kernel_dir",
    "import_kernel_factory",
    "kernel_dirs",
    "kernel_json",
    "kernel_specs",
    "make_argv",
    "profile_digest",
    "remove_kernel_spec",
    "spec_files",
    "spec_target",
    "write_kernel_spec",
]

RESOURCES = Path(__file__).parent / "resources" / "kernelspec"
PROTOCOL_VERSION = "5.5.0"
_LOGOS = {".svg": "logo-svg.svg", ".png": "logo-64x64.png"}


def make_argv(
    profile: str = "default", *, python: str = sys.executable, connection_file: str = "{connection_file}"
) -> list[str]:
    """The command that starts a kernel.

    VS Code needs `python -m module` and the connection file as an argument of its own.

    Args:
        profile: The name of a profile, or the absolute path of one.
        python: The interpreter.
        connection_file: Jupyter puts the path in the place of the default.
    """
    return [python, "-m", "async_kernel", "run", "-f", connection_file, "--profile", profile]


def get_kernel_dir(prefix: str | Path | None = None, *, user: bool = False) -> Path:
    """The folder of the kernelspecs of an environment (`prefix`, by default this interpreter's) or of the user."""
    if user:
        return Path(jupyter_data_dir(), "kernels")
    return Path(prefix or sys.prefix).expanduser().absolute() / "share" / "jupyter" / "kernels"


def kernel_dirs() -> list[Path]:
    """The folders in which Jupyter looks for kernelspecs, first hit wins."""
    return [Path(folder) for folder in jupyter_path("kernels")]


def kernel_specs(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and `kernel.json` of every kernelspec in `folder` that this program wrote."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return  # a place where kernelspecs could be need not exist
    for path in paths:
        if spec := own_spec(path):
            yield path, spec


def profile_digest(profile: Profile) -> str:
    """A fingerprint of the files that a profile was read from: a kernelspec is stale when it is another."""
    return _digest([(Path(source).name, Path(source).read_bytes()) for source in profile.sources])


def _digest(files: Sequence[tuple[str, bytes]]) -> str:
    return digest(*(part for name, content in files for part in (name.encode(), content)))


def display_name(profile: Profile) -> str:
    """The name in the launcher, its placeholders filled in."""
    prefix = Path(sys.prefix)
    words = {
        "profile": profile.name,
        # A folder `.venv` says nothing; the project that it is in does.
        "env": prefix.parent.name if prefix.name in (".venv", "venv", ".env", "env") else prefix.name,
        "python": ".".join(map(str, sys.version_info[:2])),
        "backend": profile.values["backend"],
        "version": __version__,
    }
    text: str = profile.values["display_name"]
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    return text


def _spec_env(profile: Profile) -> dict[str, str]:
    """`env` as `kernel.json` can say it: Jupyter replaces `${NAME}` there. Unsetting is left to `run`."""
    result: dict[str, str] = {}
    actions: dict[str, dict[str, Any] | None] = profile.values["env"]
    for name, action in actions.items():
        for how, value in (action or {}).items():
            new = (value if how == "set" else os.pathsep.join(value)).replace("$", "$$")
            old = f"${{{name}}}"
            result[name] = {"set": new, "prepend": f"{new}{os.pathsep}{old}"}.get(how, f"{old}{os.pathsep}{new}")
    return result


def spec_content(
    profile: Profile, *, reference: str = "", fingerprint: str = "", title: str = "", python: str = ""
) -> dict[str, Any]:
    """The content of `kernel.json` for a profile."""
    values = profile.values
    metadata: dict[str, Any] = {
        MARKER: {"profile": reference or profile.reference, "digest": fingerprint or profile_digest(profile)},
        "supported_encryption": [] if values["encryption"] == "disabled" else ["curve"],
    }
    if provisioner := values["provisioner"]:
        others = {key: value for key, value in provisioner.items() if key != "name"}
        metadata["kernel_provisioner"] = {"provisioner_name": provisioner["name"], **others}
    argv = make_argv(reference or profile.reference, python=python or values["python"] or sys.executable)
    return kernel_json(argv, title or display_name(profile), _spec_env(profile), metadata)


def kernel_json(argv: Sequence[str], title: str, env: Mapping[str, str], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `kernel.json` of ours; `metadata` is added to what every one of them has."""
    return {
        "argv": list(argv),
        "display_name": title,
        "language": "python",
        "interrupt_mode": "message",
        "kernel_protocol_version": PROTOCOL_VERSION,
        # Nothing is imported from a stranger's folder; the kernel gives the variable back what it was.
        "env": {"PYTHONSAFEPATH": f"{SAFE_PATH}${{PYTHONSAFEPATH}}", **env},
        "metadata": {
            "debugger": False,  # A frontend would offer its panel, and nothing would answer: it is not built yet.
            "supported_encryption": ["curve"],
            **metadata,
        },
    }


def spec_files(
    profile: Profile,
    target: Path,
    *,
    title: str = "",
    python: str = "",
    kernel_factory: Callable[..., Any] | None = None,
) -> dict[str, bytes]:
    """Every file of the kernelspec for `profile` in the folder `target`: name -> content."""
    files = _logo_files(profile)
    reference, fingerprint = "", ""
    if kernel_factory:
        name, source = _factory_source(kernel_factory)
        own = f"{profile.name}.yaml"
        text = f'extends: "{profile.reference}"\nkernel_factory: "kernel_factory.py:{name}"\n'
        files |= {"kernel_factory.py": source, own: text.encode()}
        reference = str(target / own)
        inherited = [(Path(path).name, Path(path).read_bytes()) for path in profile.sources]
        fingerprint = _digest([(own, files[own]), *inherited])
    content = spec_content(profile, reference=reference, fingerprint=fingerprint, title=title, python=python)
    return sealed(content, files)


def default_logos() -> dict[str, bytes]:
    """The logos of a kernelspec whose profile has none of its own."""
    return {path.name: path.read_bytes() for path in sorted(RESOURCES.glob("logo-*"))}


def _logo_files(profile: Profile) -> dict[str, bytes]:
    logo: str = profile.values["logo"]
    if not logo:
        return default_logos()
    name = _LOGOS.get(Path(logo).suffix.lower())
    mark = profile.origin("logo").mark
    if name is None:
        raise ProfileError([Problem(mark, f"logo: expected an .svg or .png file, got {logo!r}")])
    try:
        return {name: Path(logo).read_bytes()}
    except OSError as exc:
        raise ProfileError([Problem(mark, f"logo: {logo!r} can't be read: {exc.strerror}")]) from exc


def _factory_source(function: Callable[..., Any]) -> tuple[str, bytes]:
    name = getattr(function, "__name__", "")
    try:
        source = textwrap.dedent(inspect.getsource(function))
        compile(source, "kernel_factory.py", "exec")
    except (OSError, TypeError, SyntaxError) as exc:
        raise SetupError(f"kernel_factory: the source of {function!r} can't be stored: {exc}") from exc
    if not name.isidentifier() or not inspect.isfunction(function):
        raise SetupError(f"kernel_factory: expected a function with a name, got {function!r}")
    # The names in its annotations need not exist where it is stored.
    return name, f"from __future__ import annotations\n\n{source}".encode()


def write_kernel_spec(
    profile: Profile | str = "default",
    *,
    kernel_dir: str | Path | None = None,
    name: str = "",
    title: str = "",
    kernel_factory: Callable[..., Any] | None = None,
    replace: bool = False,
) -> Path:
    """Write the kernelspec of a profile. It is there whole or not at all, and a failure leaves the old one.

    Args:
        profile: A profile, its name or its path.
        kernel_dir: The folder of kernelspecs, by default this environment's (`get_kernel_dir`).
        name: The kernelspec's name, by default `async` for the profile `default`, else `async-<profile>`.
        title: The name in the launcher, by default the profile's `display_name`.
        kernel_factory: A function that makes the kernel; its source, and nothing around it, is stored with the
            kernelspec.
        replace: Also replace what this program did not write: a kernelspec of that name, or files in our own.

    Returns:
        The kernelspec's folder.

    Raises:
        SetupError: The name is none, something foreign is in the way, or the folder can't be written.
        ProfileError: The profile can't be used.
    """
    profile = load_profile(profile) if isinstance(profile, str) else profile
    target = spec_target(profile, kernel_dir, name)
    files = spec_files(profile, target, title=title, kernel_factory=kernel_factory)
    write_files(target, files, replace=replace)
    return target


def spec_target(profile: Profile, kernel_dir: str | Path | None = None, name: str = "") -> Path:
    """The folder of a profile's kernelspec: `name`, or its own name, in `kernel_dir`, or this environment's."""
    return (Path(kernel_dir) if kernel_dir else get_kernel_dir()) / _checked_name(name or profile.spec_name)


def _checked_name(name: str) -> str:
    if fault := wrong_name(name):
        raise SetupError(fault)
    return name


def find_kernel_spec(name: str, *, kernel_dir: str | Path | None = None) -> Path:
    """The folder of a kernelspec that this program wrote.

    The folders of kernelspecs themselves may be reached through symbolic links, as the user has laid them out; the
    kernelspec may be none.

    Args:
        name: Its name.
        kernel_dir: Where to look; by default wherever Jupyter does, first hit.

    Raises:
        SetupError: `name` is no name, there is no such kernelspec, or it is not ours.
    """
    _checked_name(name)
    folders = [Path(kernel_dir)] if kernel_dir else kernel_dirs()
    target = next((folder / name for folder in folders if os.path.lexists(folder / name)), None)
    if target is None:
        hint = suggest(name.lower(), [path.name for folder in folders for path, _ in kernel_specs(folder)])
        looked = ", ".join(map(str, folders))
        raise SetupError(f"there is no kernelspec {name!r} (looked in {looked}{hint and f'; {hint}'})")
    if own_spec(target) is None:
        raise SetupError(f"{target} was not written by async-kernel: it is not touched")
    return target


def remove_kernel_spec(name: str, *, kernel_dir: str | Path | None = None, force: bool = False) -> Path:
    """Remove a kernelspec that this program wrote (see `find_kernel_spec`).

    Args:
        name: Its name.
        kernel_dir: Where to look; by default wherever Jupyter does, first hit.
        force: Also remove what others have added to its folder, or changed there.

    Returns:
        The folder that was removed.

    Raises:
        SetupError: It can't be found or removed, or there is something of others in it.
    """
    target = find_kernel_spec(name, kernel_dir=kernel_dir)
    remove_folder(target, force=force)
    return target
