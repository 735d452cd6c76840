"""One kernelspec for many profiles: whoever starts a kernel chooses one.

It has a parameter `profile`, as the Jupyter enhancement proposal 87 describes it: `metadata.parameters` is a JSON
Schema from which a frontend makes a form, and what is chosen replaces `{profile}` in `argv`
(https://jupyter.org/enhancement-proposals/87-jupyter-parameterized-kernel-spec/jupyter-parameterized-kernel-specs.html).
A client that knows nothing of it leaves `{profile}` as it is; `run` takes that for the default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from async_kernel.config.profile import DEFAULT, PLACEHOLDER, Profile
from async_kernel.errors import SetupError
from async_kernel.kernelspec import default_logos, kernel_json, make_argv, profile_digest
from async_kernel.spec_folder import MARKER, digest, sealed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["NAME", "chooser_digest", "chooser_files", "offerable", "offered", "offers_all"]

NAME: Final = "async-chooser"
"""What the kernelspec is called unless the user says otherwise."""


def chooser_digest(profiles: Sequence[Profile]) -> str:
    """A fingerprint of which profiles there are and what they say."""
    parts = (f"{profile.reference}\0{profile_digest(profile)}".encode() for profile in profiles)
    return digest(*sorted(parts))


def chooser_files(profiles: Sequence[Profile], *, every: bool = False, title: str = "") -> dict[str, bytes]:
    """Every file of a kernelspec that offers `profiles`, the first by default: name -> content.

    Args:
        profiles: What is offered; the profile `default` is first.
        every: Whether they are all that can be found by name, so that a new one makes the kernelspec stale.
        title: The name in the launcher.
    """
    described = [f"{each.reference}: {each.values['description']}" for each in profiles if each.values["description"]]
    parameter = {
        "type": "string",
        "title": "Profile",
        "description": "How the kernel behaves. " + " · ".join(described),
        "enum": [profile.reference for profile in profiles],
        "default": DEFAULT,
    }
    marker = {"profile": PLACEHOLDER, "digest": chooser_digest(profiles), "every": every}
    metadata: dict[str, Any] = {
        "parameters": {"type": "object", "properties": {"profile": parameter}},
        MARKER: marker,
    }
    return sealed(
        kernel_json(make_argv(PLACEHOLDER), title or "Python (async, choose a profile)", {}, metadata), default_logos()
    )


def offerable(profiles: Sequence[Profile]) -> list[Profile]:
    """Those of `profiles` that can be chosen; one with a provisioner can't: that is the kernelspec's, not the kernel's.

    Raises:
        SetupError: The profile `default`, which every client must be able to start, is one of them.
    """
    found = [profile for profile in profiles if not profile.values["provisioner"]]
    if DEFAULT not in [profile.reference for profile in found]:
        raise SetupError(
            "the profile 'default' has a provisioner, so no chooser can offer it: install one kernelspec each"
        )
    return found


def offered(spec: Mapping[str, Any]) -> list[str] | None:
    """The profiles that the kernelspec with the content `spec` offers, by name or path; None where it is no chooser."""
    if spec["metadata"][MARKER]["profile"] != PLACEHOLDER:
        return None
    try:
        names = spec["metadata"]["parameters"]["properties"]["profile"]["enum"]
    except (KeyError, TypeError):
        return []  # somebody has edited it
    return [str(name) for name in names] if isinstance(names, list) else []


def offers_all(spec: Mapping[str, Any]) -> bool:
    """Whether the chooser with the content `spec` was made to offer every profile that can be found."""
    return bool(spec["metadata"][MARKER].get("every"))
