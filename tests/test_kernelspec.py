"""Kernelspecs: whole or not at all, and only our own are touched."""

from __future__ import annotations

import json
import os
import runpy
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from async_kernel import kernelspec
from async_kernel.config.profile import load_profile
from async_kernel.errors import SetupError


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of kernelspecs; profiles are looked up in `<tmp>/profiles` and then in ours."""
    monkeypatch.setenv("ASYNC_KERNEL_PROFILES", str(tmp_path / "profiles"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    (tmp_path / "profiles").mkdir()
    return tmp_path / "share" / "jupyter" / "kernels"


def written(path: Path) -> dict[str, Any]:
    return json.loads((path / "kernel.json").read_bytes())


def files(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.iterdir()} if path.is_dir() else {}


def test_the_kernelspec_of_a_profile(kernels: Path) -> None:
    """What Jupyter and VS Code read, key by key."""
    path = kernelspec.write_kernel_spec("trio", kernel_dir=kernels)
    assert path == kernels / "async-trio"
    assert set(files(path)) == {"kernel.json", "logo-svg.svg", "logo-32x32.png", "logo-64x64.png"}
    spec = written(path)
    digest = spec["metadata"]["async_kernel"].pop("digest")
    assert set(spec["metadata"]["async_kernel"].pop("files")) == set(files(path))
    assert digest == kernelspec.profile_digest(load_profile("trio"))
    assert spec == {
        "argv": [sys.executable, "-m", "async_kernel", "run", "-f", "{connection_file}", "--profile", "trio"],
        "display_name": "Python (async, trio)",
        "language": "python",
        "interrupt_mode": "message",
        "kernel_protocol_version": "5.5.0",
        "env": {"PYTHONSAFEPATH": "async_kernel:${PYTHONSAFEPATH}"},
        "metadata": {"debugger": True, "supported_encryption": ["curve"], "async_kernel": {"profile": "trio"}},
    }


def test_jupyter_finds_it(kernels: Path) -> None:
    """The launcher lists what jupyter_client lists, and no folder that is being written."""
    for profile in ("default", "fast"):
        kernelspec.write_kernel_spec(profile, kernel_dir=kernels)
    manager = KernelSpecManager(kernel_dirs=[str(kernels)], ensure_native_kernel=False)
    assert set(manager.find_kernel_specs()) == {"async", "async-fast"}
    assert manager.get_kernel_spec("async-fast").interrupt_mode == "message"
    assert sorted(os.listdir(kernels)) == ["async", "async-fast"]


def test_everything_that_a_profile_says_about_it(kernels: Path, tmp_path: Path) -> None:
    """env, python, logo, provisioner and the placeholders of the display name."""
    (tmp_path / "profiles/Full.yaml").write_text(
        "display_name: '{profile} {backend} {python}'\n"
        "env: {A: '$$x', PATH: {prepend: [/one, /two]}, LIB: {append: /lib}, GONE: null}\n"
        "python: bin/py\nlogo: my.svg\nprovisioner: {name: far, config: {host: h, port: null}}\n"
    )
    (tmp_path / "profiles/my.svg").write_text("<svg/>")
    path = kernelspec.write_kernel_spec("Full", kernel_dir=kernels)
    spec = written(path)
    assert path.name == "async-full"
    assert files(path).keys() == {"kernel.json", "logo-svg.svg"}
    assert spec["display_name"] == f"Full asyncio {sys.version_info[0]}.{sys.version_info[1]}"
    assert spec["env"].pop("PYTHONSAFEPATH")  # as in every kernelspec
    assert spec["env"] == {"A": "$$x", "PATH": "/one:/two:${PATH}", "LIB": "${LIB}:/lib"}
    assert spec["argv"][0] == str(tmp_path / "profiles/bin/py")
    assert spec["metadata"]["kernel_provisioner"] == {"provisioner_name": "far", "config": {"host": "h", "port": None}}


def test_a_profile_by_path_is_named_by_its_absolute_path(
    kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jupyter starts the kernel in another folder than the one the path was typed in."""
    (tmp_path / "mine.yaml").write_text("extends: default")
    monkeypatch.chdir(tmp_path)
    path = kernelspec.write_kernel_spec("mine.yaml", kernel_dir=kernels)
    assert written(path)["argv"][-2:] == ["--profile", str(tmp_path / "mine.yaml")]


@pytest.mark.parametrize(("logo", "fault"), [("x.gif", "expected an .svg or .png file"), ("no.svg", "can't be read")])
def test_a_logo_that_is_none(kernels: Path, tmp_path: Path, logo: str, fault: str) -> None:
    (tmp_path / "profiles/p.yaml").write_text(f"logo: {logo}")
    with pytest.raises(SetupError, match=rf"p\.yaml:1:7: error: logo: .*{fault}"):
        kernelspec.write_kernel_spec("p", kernel_dir=kernels)
    assert not kernels.exists()


def test_writing_it_again_changes_nothing(kernels: Path) -> None:
    """Installing in a start script must not make Jupyter reload a kernelspec each time."""
    path = kernelspec.write_kernel_spec(kernel_dir=kernels)
    before = path.stat().st_ino, (path / "kernel.json").stat().st_mtime_ns
    kernelspec.write_kernel_spec(kernel_dir=kernels)
    assert (path.stat().st_ino, (path / "kernel.json").stat().st_mtime_ns) == before


def test_a_foreign_kernelspec_is_left_alone(kernels: Path) -> None:
    """`async` may be anybody's."""
    foreign = kernels / "async"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text('{"argv": ["x"], "metadata": {"async_kernel": 1}}')
    before = files(foreign)
    with pytest.raises(SetupError, match="was not written by async-kernel: choose another --name, or --replace it"):
        kernelspec.write_kernel_spec(kernel_dir=kernels)
    with pytest.raises(SetupError, match="was not written by async-kernel: it is not touched"):
        kernelspec.remove_kernel_spec("async", kernel_dir=kernels)
    assert files(foreign) == before
    assert written(kernelspec.write_kernel_spec(kernel_dir=kernels, replace=True))["metadata"]["supported_encryption"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"metadata": []}', '{"metadata": {"async_kernel": {}}}', "\xff"])
def test_what_is_not_ours_is_not_removed(kernels: Path, text: str) -> None:
    (kernels / "x").mkdir(parents=True)
    (kernels / "x/kernel.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SetupError, match="was not written by"):
        kernelspec.remove_kernel_spec("x", kernel_dir=kernels)
    assert (kernels / "x/kernel.json").exists()


def test_removing(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kernelspec.write_kernel_spec(kernel_dir=kernels)
    assert kernelspec.remove_kernel_spec("async", kernel_dir=kernels) == path
    assert os.listdir(kernels) == []
    monkeypatch.setattr(kernelspec, "kernel_dirs", lambda: [kernels])
    with pytest.raises(SetupError, match=rf"there is no kernelspec 'async' \(looked in {kernels}\)"):
        kernelspec.remove_kernel_spec("async")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(kernels: Path) -> None:
    kernels.mkdir(parents=True, mode=0o500)
    with pytest.raises(SetupError, match=r"can't be written: Permission denied .*; try --user or --prefix DIR"):
        kernelspec.write_kernel_spec(kernel_dir=kernels)


def test_a_place_that_is_no_folder(kernels: Path) -> None:
    kernels.parent.mkdir(parents=True)
    kernels.write_text("")
    with pytest.raises(SetupError, match=r"async can't be written: .*; try --user or --prefix DIR"):
        kernelspec.write_kernel_spec(kernel_dir=kernels)


def make_kernel(settings: dict[str, Any]) -> dict[str, Any]:
    """A factory whose source is stored with a kernelspec."""
    return {"made": settings}


def test_a_kernel_factory_is_stored_with_its_source(kernels: Path) -> None:
    """The function's own file may be gone when the kernel starts."""
    path = kernelspec.write_kernel_spec("trio", kernel_dir=kernels, name="mine", kernel_factory=make_kernel)
    spec = written(path)
    reference = spec["argv"][-1]
    assert reference == str(path / "trio.yaml")
    profile = load_profile(reference)
    assert profile.values["backend"] == "trio"
    assert spec["metadata"]["async_kernel"]["digest"] == kernelspec.profile_digest(profile)
    assert kernelspec.import_kernel_factory(profile.values["kernel_factory"])({"a": 1}) == {"made": {"a": 1}}


def test_a_factory_without_source_or_name_is_refused(kernels: Path) -> None:
    for function in (lambda settings: settings, print, dict):
        with pytest.raises(SetupError, match="kernel_factory: "):
            kernelspec.write_kernel_spec(kernel_dir=kernels, kernel_factory=function)
    assert not kernels.exists()


def test_a_kernel_factory_by_its_import_path() -> None:
    assert kernelspec.import_kernel_factory("json:dumps") is json.dumps
    assert kernelspec.import_kernel_factory("os:path.join") is os.path.join


@pytest.mark.parametrize(
    "text", ["no_such_module:x", "json:nothing", "json:__name__", "/no/such/file.py:x", "json:", ":x"]
)
def test_a_kernel_factory_that_cannot_be_loaded(text: str) -> None:
    with pytest.raises(SetupError, match="kernel_factory"):
        kernelspec.import_kernel_factory(text)


def test_where_kernelspecs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    assert kernelspec.get_kernel_dir() == Path(sys.prefix, "share/jupyter/kernels")
    assert kernelspec.get_kernel_dir(tmp_path) == tmp_path / "share/jupyter/kernels"
    assert kernelspec.get_kernel_dir(user=True) == tmp_path / "kernels"
    assert Path(sys.prefix, "share/jupyter/kernels") in kernelspec.kernel_dirs()


@pytest.mark.slow
def test_what_the_wheel_ships_is_current() -> None:
    """A plain `pip install` shows this kernelspec; when it is stale, run `python tests/make_resources.py`."""
    made = runpy.run_path(str(Path(__file__).with_name("make_resources.py")))
    expected = {**made["logos"](), "kernel.json": made["kernel_json"]()}
    assert files(kernelspec.RESOURCES) == expected
    spec = json.loads(expected["kernel.json"])
    assert spec["argv"] == ["python", *kernelspec.make_argv()[1:]]
    for size in (32, 64):
        assert struct.unpack(">II", expected[f"logo-{size}x{size}.png"][16:24]) == (size, size)
