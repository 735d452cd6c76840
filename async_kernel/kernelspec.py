"""Kernelspecs: written in one step, recognised as our own, and only those removed.

A kernelspec is a folder `<kernels>/<name>` with `kernel.json` and the logos
(https://jupyter-client.readthedocs.io/en/latest/kernels.html#kernel-specs). Ours names its profile and nothing more:
the truth lives in the profile.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_core.paths import jupyter_data_dir, jupyter_path

from async_kernel import __version__, folder_swap
from async_kernel.config.discovery import wrong_name
from async_kernel.config.problems import Problem, ProfileError
from async_kernel.config.profile import Profile, load_profile
from async_kernel.errors import SetupError
from async_kernel.factory import import_kernel_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "find_kernel_spec",
    "get_kernel_dir",
    "import_kernel_factory",
    "is_current",
    "kernel_dirs",
    "kernel_specs",
    "make_argv",
    "profile_digest",
    "remove_kernel_spec",
    "spec_files",
    "write_kernel_spec",
]

RESOURCES = Path(__file__).parent / "resources" / "kernelspec"
PROTOCOL_VERSION = "5.5.0"
MARKER = "async_kernel"
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
        if spec := _own_spec(path):
            yield path, spec


def _own_spec(path: Path) -> dict[str, Any] | None:
    """The content of the `kernel.json` in `path` if this program wrote it."""
    try:
        spec = json.loads((path / "kernel.json").read_bytes())
        marker = spec["metadata"][MARKER]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not a kernelspec, or somebody else's
    return spec if isinstance(marker, dict) and "profile" in marker else None


def profile_digest(profile: Profile) -> str:
    """A fingerprint of the files that a profile was read from: a kernelspec is stale when it is another."""
    return _digest([(Path(source).name, Path(source).read_bytes()) for source in profile.sources])


def _digest(files: Sequence[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


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
    profile: Profile, *, reference: str = "", digest: str = "", title: str = "", python: str = ""
) -> dict[str, Any]:
    """The content of `kernel.json` for a profile."""
    values = profile.values
    metadata: dict[str, Any] = {
        "debugger": False,  # A frontend would offer its panel, and nothing would answer: it is not built yet.
        "supported_encryption": [] if values["encryption"] == "disabled" else ["curve"],
        MARKER: {"profile": reference or profile.reference, "digest": digest or profile_digest(profile)},
    }
    if provisioner := values["provisioner"]:
        others = {key: value for key, value in provisioner.items() if key != "name"}
        metadata["kernel_provisioner"] = {"provisioner_name": provisioner["name"], **others}
    return {
        "argv": make_argv(reference or profile.reference, python=python or values["python"] or sys.executable),
        "display_name": title or display_name(profile),
        "language": "python",
        "interrupt_mode": "message",
        "kernel_protocol_version": PROTOCOL_VERSION,
        "env": _spec_env(profile),
        "metadata": metadata,
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
    reference, digest = "", ""
    if kernel_factory:
        name, source = _factory_source(kernel_factory)
        own = f"{profile.name}.yaml"
        text = f'extends: "{profile.reference}"\nkernel_factory: "kernel_factory.py:{name}"\n'
        files |= {"kernel_factory.py": source, own: text.encode()}
        reference = str(target / own)
        inherited = [(Path(path).name, Path(path).read_bytes()) for path in profile.sources]
        digest = _digest([(own, files[own]), *inherited])
    content = spec_content(profile, reference=reference, digest=digest, title=title, python=python)
    files["kernel.json"] = f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode()
    return files


def _logo_files(profile: Profile) -> dict[str, bytes]:
    logo: str = profile.values["logo"]
    if not logo:
        return {path.name: path.read_bytes() for path in sorted(RESOURCES.glob("logo-*"))}
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
        replace: Also replace a kernelspec of that name which this program did not write.

    Returns:
        The kernelspec's folder.

    Raises:
        SetupError: The name is none, a foreign kernelspec has it, or the folder can't be written.
        ProfileError: The profile can't be used.
    """
    profile = load_profile(profile) if isinstance(profile, str) else profile
    folder = Path(kernel_dir) if kernel_dir else get_kernel_dir()
    target = folder / _checked_name(name or profile.spec_name)
    files = spec_files(profile, target, title=title, kernel_factory=kernel_factory)
    if target.is_symlink():
        raise SetupError(f"{target} is a symbolic link: it is not touched; remove it or choose another name")
    if target.exists() and not replace and _own_spec(target) is None:
        raise SetupError(f"{target} was not written by async-kernel: choose another --name, or --replace it")
    if not is_current(target, files):
        try:
            _publish(target, files)
        except OSError as exc:
            reason = f"{exc.strerror or exc} ({exc.filename})" if exc.filename else exc.strerror or str(exc)
            raise SetupError(f"{target} can't be written: {reason}; try --user or --prefix DIR") from exc
    return target


def is_current(target: Path, files: Mapping[str, bytes]) -> bool:
    """Whether the folder `target` holds exactly `files`."""
    try:
        if {path.name for path in target.iterdir()} != set(files):
            return False
        return all((target / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def _publish(target: Path, files: Mapping[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Inside the folder of kernelspecs, so that a rename suffices; without a kernel.json of its own, so that Jupyter
    # does not take it for one.
    with tempfile.TemporaryDirectory(prefix=".async-kernel-", dir=target.parent, ignore_cleanup_errors=True) as staging:
        new = Path(staging, "new")
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
        folder_swap.put(new, target, old=Path(staging, "old"))


def _checked_name(name: str) -> str:
    if fault := wrong_name(name):
        raise SetupError(fault)
    return name


def find_kernel_spec(name: str, *, kernel_dir: str | Path | None = None) -> Path:
    """The folder of a kernelspec that this program wrote.

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
        raise SetupError(f"there is no kernelspec {name!r} (looked in {', '.join(map(str, folders))})")
    if target.is_symlink() or _own_spec(target) is None:
        raise SetupError(f"{target} was not written by async-kernel: it is not touched")
    return target


def remove_kernel_spec(name: str, *, kernel_dir: str | Path | None = None) -> Path:
    """Remove a kernelspec that this program wrote (see `find_kernel_spec`).

    Returns:
        The folder that was removed.

    Raises:
        SetupError: It can't be found, or not be removed.
    """
    target = find_kernel_spec(name, kernel_dir=kernel_dir)
    try:
        with tempfile.TemporaryDirectory(prefix=".async-kernel-", dir=target.parent) as staging:
            target.rename(Path(staging, "old"))  # out of Jupyter's sight in one step
    except OSError as exc:
        raise SetupError(f"{target} can't be removed: {exc.strerror or exc}") from exc
    return target
