"""What `install` wrote, started as a Jupyter server starts it."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Unicode

from async_kernel.__main__ import main
from tests.kernels import TIMEOUT, text_of

PROFILE = """\
display_name: "{profile} on {backend}"
backend: trio
logo: own.svg
env:
  SET: "a $$HOME ${UNSET_HERE:-b} $$${BRACE}"
  PATH: {prepend: [/first, /second]}
  NOT_SET_BEFORE: {append: [/last]}
  GONE: null
provisioner: {name: ours, config: {greeting: "hello {there}"}}
"""


class Ours(LocalProvisioner):
    """A provisioner that shows its configuration to the kernel."""

    greeting = Unicode(config=True)

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Add a variable."""
        result = await super().pre_launch(**kwargs)
        result["env"]["GREETING"] = self.greeting
        return result


class Manager(KernelManager):
    """A client that lets its user choose, as the enhancement proposal 87 asks for; jupyter_client does not yet."""

    chosen = ""

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Put what was chosen in its place."""
        command = super().format_kernel_cmd(extra_arguments)
        return [part.replace("{profile}", self.chosen) if self.chosen else part for part in command]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the kernelspecs `async-mine` and `async-chooser`."""
    root = tmp_path_factory.mktemp("env")
    (root / "profiles").mkdir()
    (root / "profiles/mine.yaml").write_text(PROFILE)
    (root / "profiles/own.svg").write_text("<svg/>")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("JUPYTER_PATH", f"{root}/share/jupyter"),
            ("ASYNC_KERNEL_PROFILES", f"{root}/profiles"),
            ("GONE", "still here"),
            ("BRACE", "{SET}"),
        ):
            patch.setenv(name, value)
        patch.delenv("NOT_SET_BEFORE", raising=False)
        entry = EntryPoint("ours", f"{__name__}:Ours", "jupyter_client.kernel_provisioners")
        patch.setitem(KernelProvisionerFactory.instance().provisioners, "ours", entry)
        assert main(["install", "--prefix", str(root), "--profile", "mine"]) == 0
        assert main(["install", "--prefix", str(root), "--chooser", "--profile", "trio"]) == 0
        yield root / "share/jupyter/kernels"


@pytest.fixture
def evaluate(installed: Path) -> Iterator[Callable[..., Any]]:
    """The value of an expression in a new kernel of the kernelspec `name`."""
    managers: list[Manager] = []

    def evaluate(name: str, expression: str, chosen: str = "") -> Any:
        manager = Manager(kernel_name=name)
        manager.chosen = chosen
        managers.append(manager)
        manager.start_kernel()
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=TIMEOUT)
        messages: list[dict[str, Any]] = []
        client.execute_interactive(f"print(repr({expression}))", timeout=TIMEOUT, output_hook=messages.append)
        client.stop_channels()
        return ast.literal_eval(text_of(messages))

    yield evaluate
    for manager in managers:
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@pytest.mark.slow
def test_everything_that_a_profile_says_to_jupyter(installed: Path, evaluate: Callable[..., Any]) -> None:
    """The launcher's name and logo; the provisioner with its configuration; set, prepend, append and unset."""
    spec = KernelSpecManager().get_kernel_spec("async-mine")
    assert spec.display_name == "mine on trio"
    assert Path(spec.resource_dir, "logo-svg.svg").read_text() == "<svg/>"
    names = ("SET", "PATH", "NOT_SET_BEFORE", "GONE", "GREETING")
    assert evaluate("async-mine", f"[__import__('os').environ.get(name) for name in {names}]") == [
        "a $HOME b ${SET}",
        f"/first:/second:{os.environ['PATH']}",
        "/last",
        None,
        "hello {there}",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "kernel"), [("", "async"), ("trio", "async-trio")])
def test_the_chooser(evaluate: Callable[..., Any], chosen: str, kernel: str) -> None:
    """A client that knows nothing of parameters must get a kernel too."""
    assert evaluate("async-chooser", "get_ipython().kernel.kernel_name", chosen) == kernel
