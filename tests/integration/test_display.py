"""Displays, values and pagers as a frontend gets them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernels import RunningKernel, spawn, text_of, wait_for_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """A kernel of each backend."""
    path = tmp_path_factory.mktemp("kernel") / "k.json"
    process = spawn(path, "--backend", request.param)
    wait_for_file(path, process)
    running = RunningKernel(process, path)
    yield running
    running.stop()


def outputs(kernel: RunningKernel, code: str) -> list[tuple[str, Any]]:
    """What a cell publishes but its input: type and content."""
    _, messages = kernel.run(code)
    return [(m["msg_type"], m["content"]) for m in messages if m["msg_type"] != "execute_input"]


def test_a_display_is_updated_from_other_cells(kernel: RunningKernel) -> None:
    """By its handle or its id, in whatever run mode; the frontend finds it by `display_id`."""
    ((kind, first),) = outputs(kernel, "from IPython.display import *\nh = display(HTML('<b>1</b>'), display_id='d')")
    assert (kind, first["data"]["text/html"], first["transient"]) == ("display_data", "<b>1</b>", {"display_id": "d"})
    for mode in ("", "# task\n", "# thread\n"):
        for code in ("h.update(2)", "update_display(2, display_id='d')"):
            ((kind, again),) = outputs(kernel, mode + code)
            assert (kind, again["data"], again["transient"]) == (
                "update_display_data", {"text/plain": "2"}, {"display_id": "d"})  # fmt: skip


def test_clear_output_keeps_its_place(kernel: RunningKernel) -> None:
    """Between what was printed before and after it; with `wait` the frontend does not flicker."""
    found = outputs(kernel, "from IPython.display import clear_output\nprint(1)\nclear_output(wait=True)\nprint(2)")
    assert [kind for kind, _ in found] == ["stream", "clear_output", "stream"]
    assert found[1][1] == {"wait": True}
    assert found[2][1]["text"] == "2\n"


def test_values(kernel: RunningKernel) -> None:
    """A value is an `execute_result` with its number, is in `Out` and `_`; a semicolon hides it."""
    ((kind, content),) = outputs(kernel, "40 + 2")
    assert (kind, content["data"]) == ("execute_result", {"text/plain": "42"})
    assert text_of(kernel.run(f"print(Out[{content['execution_count']}], _)")[1]) == "42 42\n"
    assert outputs(kernel, "42;") == []


def test_rich_representations(kernel: RunningKernel) -> None:
    """What the methods of an object offer, and bytes as the base64 that frontends expect of images."""
    code = "class R:\n    def __repr__(self): return 'R'\n"
    code += "    def _repr_html_(self): return '<i>R</i>'\n    def _repr_png_(self): return b'\\x89PNG', {'width': 3}\n"
    code += (
        "    def _repr_mimebundle_(self, **_): return {'text/x': 'x', 'application/octet-stream': b'\\x00\\xff'}\nR()"
    )
    ((_, content),) = outputs(kernel, code)
    data = content["data"]
    assert (data["text/plain"], data["text/html"], data["text/x"]) == ("R", "<i>R</i>", "x")
    assert base64.b64decode(data["image/png"]) == b"\x89PNG"
    assert base64.b64decode(data["application/octet-stream"]) == b"\x00\xff"
    assert content["metadata"]["image/png"] == {"width": 3}


def test_a_representation_that_fails(kernel: RunningKernel) -> None:
    """The other representations are shown all the same."""
    code = "class F:\n    def __repr__(self): return 'F'\n    def _repr_html_(self): return 1 / 0\nF()"
    found = outputs(kernel, code)
    assert any(kind == "execute_result" and content["data"] == {"text/plain": "F"} for kind, content in found)
    assert "ZeroDivisionError" in str(found)


def test_hooks_see_and_change_displays(kernel: RunningKernel) -> None:
    """As libraries that capture displays (and values) do; a hook that returns None keeps the message."""
    code = "pub, hook, seen = get_ipython().display_pub, get_ipython().displayhook, []\n"
    code += "def keep(msg):\n    seen.append((msg['header']['msg_type'], msg['content']['data']['text/plain']))\n"
    code += "def shout(msg):\n    msg['content']['data']['text/plain'] += '!'\n    return msg\n"
    code += "pub.register_hook(shout)\nhook.register_hook(keep)\ndisplay(1)\n2"
    assert [content["data"]["text/plain"] for _, content in outputs(kernel, code)] == ["1!"]
    undo = "print(pub.unregister_hook(shout), hook.unregister_hook(keep), pub.unregister_hook(keep), seen)"
    assert text_of(kernel.run(undo)[1]) == "True True False [('execute_result', '2')]\n"
    assert [content["data"]["text/plain"] for _, content in outputs(kernel, "display(3)")] == ["3"]


def test_the_pager_and_the_next_input_are_payloads(kernel: RunningKernel) -> None:
    """`len?` opens the frontend's pager; `%load` and `%recall` fill the next cell."""
    (page,) = kernel.run("len?")[0]["content"]["payload"]
    assert (page["source"], page["start"]) == ("page", 0)
    assert "Return the number of items" in page["data"]["text/plain"]
    (text,) = kernel.run("get_ipython().set_next_input('x = 1')")[0]["content"]["payload"]
    assert (text["source"], text["text"], text["replace"]) == ("set_next_input", "x = 1", False)


def test_progress_bars_stay_in_their_place(kernel: RunningKernel) -> None:
    """tqdm writes over its own line; rich updates one display; neither floods the notebook."""
    pytest.importorskip("tqdm")
    _, messages = kernel.run("from tqdm import tqdm\nfor _ in tqdm(range(50), mininterval=0): pass")
    text = text_of(messages, "stderr")
    assert text.startswith("\r  0%|")
    assert text.count("\n") == 1
    assert "50/50" in text.rpartition("\r")[2]
    code = "from tqdm.notebook import tqdm as bar\nfor _ in bar(range(3)): pass"
    found = [kind for kind, _ in outputs(kernel, code)]
    assert found.count("display_data") == 1
    code = "from rich.progress import track\nfor _ in track(range(3), 'going'): pass"
    found = outputs(kernel, code)
    assert "going" in str(found)
    assert "100%" in str(found)
