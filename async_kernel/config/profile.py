"""`load_profile`: a name becomes a frozen `Profile`: what a kernel shall be, with the origin of every value."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from async_kernel.config import discovery
from async_kernel.config.layers import Loader, Override
from async_kernel.config.problems import Mark, Problem, ProfileError
from async_kernel.config.schema import SCHEMA, key_of
from async_kernel.config.tree import Node, Table, data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DEFAULT", "PLACEHOLDER", "Origin", "Profile", "load_profile", "parse_set"]

DEFAULT = "default"
PLACEHOLDER = "{profile}"
"""Stands in the argv of a kernelspec that lets its user choose; a client that knows nothing of that leaves it."""


class Origin(NamedTuple):
    """Where a value came from: the layer, and the place in it."""

    layer: str
    "`default`, `extends`, `profile`, `local`, `environment` or `command line`."
    mark: Mark

    def __str__(self) -> str:
        return self.layer if self.mark.file == self.layer else f"{self.layer} ({self.mark})"


_BUILT_IN = Origin("default", Mark("default"))


class Profile:
    """How a kernel behaves. Made by `load_profile`; nothing in it changes afterwards."""

    __slots__: tuple[str, ...] = ("_layers", "_tree", "name", "path", "reference", "sources", "values", "warnings")

    def __init__(
        self, name: str, path: str, tree: Table, layers: Mapping[str, str], warnings: Sequence[Problem]
    ) -> None:
        put = object.__setattr__
        put(self, "path", os.path.abspath(path))
        put(self, "name", discovery.profile_name(path))
        put(self, "reference", self.path if discovery.is_path(name) or discovery.is_projects(path) else name)
        put(self, "_tree", tree)
        put(self, "_layers", layers)
        put(self, "warnings", tuple(warnings))
        in_files = ("profile", "extends", "local")
        put(self, "sources", tuple(os.path.abspath(file) for file, layer in layers.items() if layer in in_files))
        values = {key: data(tree[key]) if key in tree else _copy(setting.default) for key, setting in SCHEMA.items()}
        put(self, "values", MappingProxyType(values))

    name: str
    "The stem of its file."
    path: str
    "Its file, absolute."
    reference: str
    "How to ask for it again, wherever one stands: its name, or its absolute path (given as one, or a project's own)."
    values: Mapping[str, Any]
    "The value of every key of the schema, defaults included."
    sources: tuple[str, ...]
    "The absolute paths of all the files that it was read from, its own first."
    warnings: tuple[Problem, ...]
    "What is worth telling, though the profile can be used."

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a profile is frozen: {name!r} can't be set")

    def __repr__(self) -> str:
        return f"<Profile {self.name!r} from {self.path!r}>"

    @property
    def spec_name(self) -> str:
        """The name of its kernelspec: `async` for the profile `default`, else `async-<profile>`, in small letters."""
        return "async" if self.name == DEFAULT else f"async-{self.name.lower()}"

    def origin(self, key: str) -> Origin:
        """Where the value of `key` came from; with dots, `key` leads into it (`run_modes.shell.comm_msg`, `startup.0`).

        Raises:
            KeyError: The first part of `key` is no key of a profile.
        """
        found, rest = key, ""
        if found not in SCHEMA:
            found, _, rest = key.partition(".")
        setting = SCHEMA[found]
        node: Node | None = self.said.get(setting.key)
        while node is not None and rest and isinstance(node.value, dict | list):
            items = node.value
            inner: Table = items if isinstance(items, dict) else {str(i): items[i] for i in range(len(items))}
            if rest in inner:
                node, rest = inner[rest], ""
            else:
                first, _, rest = rest.partition(".")
                node = inner.get(first)
        if node is None:
            return _BUILT_IN
        return self.origin_at(node.mark)

    def origin_of(self, trait: str) -> Origin:
        """Where the value came from that `settings` has for the dotted attribute `trait`."""
        return self.origin(key_of(trait) or (trait if trait in SCHEMA else f"settings.{trait}"))

    def settings(self) -> dict[str, Any]:
        """Dotted attribute -> value, for `Kernel.load_settings`.

        Only what some layer says is in it (a kernel's own defaults stay), and always the backend and the kernel's name.
        """
        said, values = self.said, self.values
        result: dict[str, Any] = {"kernel_name": self.spec_name, **values["settings"]}
        for setting in SCHEMA.values():
            if setting.trait and setting.key in said:
                result[setting.trait] = values[setting.key]
        backend: str = values["backend"]
        result["anyio_backend"] = backend
        if "anyio_backend_options" in result:
            result["anyio_backend_options"] = {backend: result["anyio_backend_options"]}
        if values["transport"] == "ipc":
            result.pop("ip", None)  # an address means nothing there: the kernel makes a path of its own
        return result

    def environment(self, base: Mapping[str, str]) -> dict[str, str | None]:
        """What `env` changes in the environment `base`: the new text of a variable, or None where it goes."""
        result: dict[str, str | None] = {}
        for name, action in self.values["env"].items():
            if action is None:
                result[name] = None
            elif "set" in action:
                result[name] = action["set"]
            else:
                (how, new), old = next(iter(action.items())), base.get(name, "").split(os.pathsep)
                # Jupyter leaves `${NAME}` in the kernelspec's env as it is where the variable is not set.
                kept = [part for part in old if part and part not in (*new, f"${{{name}}}")]
                result[name] = os.pathsep.join([*new, *kept] if how == "prepend" else [*kept, *new])
        return result

    @property
    def said(self) -> Table:
        """What the layers say, with positions; keys that none of them says are not in it."""
        return self._tree  # pyright: ignore[reportAttributeAccessIssue]

    def origin_at(self, mark: Mark) -> Origin:
        """The origin of what was written at `mark`."""
        return Origin(self._layers.get(mark.file, "profile"), mark)  # pyright: ignore[reportAttributeAccessIssue]


def _copy(default: Any) -> Any:
    return default.copy() if isinstance(default, list | dict) else default


def parse_set(text: str) -> Override:
    """`KEY=VALUE`, as `--set` takes it.

    Raises:
        ProfileError: There is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ProfileError([Problem(Mark(f"--set {text}"), "expected KEY=VALUE")])
    return Override(f"--set {text}", key.strip(), value)


def load_profile(
    name: str = DEFAULT, *, overrides: Sequence[Override] = (), environ: Mapping[str, str] | None = None
) -> Profile:
    """Read the profile `name`, with all its layers.

    Args:
        name: A name, or the path of a file (it has a slash or ends with .yaml).
        overrides: What the command line says, in order.
        environ: The environment variables; those of the process where it is not given.

    Raises:
        ProfileError: The profile can't be used; it has all the problems.
    """
    loader = Loader(os.environ if environ is None else environ)
    path, tree = loader.load(name, overrides)
    errors = [problem for problem in loader.problems if problem.severity == "error"]
    if errors:
        files = {file: index for index, file in enumerate(loader.layers)}
        errors.sort(key=lambda problem: (files.get(problem.mark.file, -1), problem.mark.line, problem.mark.column))
        raise ProfileError(dict.fromkeys(errors))
    return Profile(name, path, tree, loader.layers, list(dict.fromkeys(loader.problems)))
