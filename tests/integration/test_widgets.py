"""Real widgets, unchanged, driven by what JupyterLab's widget manager sends; no browser is needed for that.

Without this a slider would look right and do nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernels import RunningKernel, spawn, text_of, wait_for_file

pytest.importorskip("ipywidgets")
pytestmark = pytest.mark.slow

VIEW = "application/vnd.jupyter.widget-view+json"
ANY = """
import anywidget, traitlets
class Counter(anywidget.AnyWidget):
    _esm = "export default { render() {} }"
    value = traitlets.Int(0).tag(sync=True)
    blob = traitlets.CBytes(b"").tag(sync=True)
counter = Counter()
counter.on_msg(lambda widget, content, buffers: widget.send({"got": content}, [bytes(b)[::-1] for b in buffers]))
counter
"""


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """A kernel that has imported ipywidgets."""
    path = tmp_path_factory.mktemp("kernel") / "k.json"
    process = spawn(path, "--backend", request.param)
    wait_for_file(path, process)
    running = RunningKernel(process, path)
    assert running.run("import anyio\nimport ipywidgets as w\nimport matplotlib.pyplot as plt")[0]["content"]["status"]
    yield running
    running.stop()


def model(kernel: RunningKernel, code: str) -> str:
    """Show a widget; the id of its model."""
    reply, messages = kernel.run(code)
    assert reply["content"]["status"] == "ok", reply["content"]
    shown = next(m["content"]["data"] for m in reversed(messages) if VIEW in m["content"].get("data", {}))
    return shown[VIEW]["model_id"]


def id_of(kernel: RunningKernel, expression: str) -> str:
    return text_of(kernel.run(f"print({expression}.model_id)")[1]).strip()


def send(kernel: RunningKernel, comm_id: str, data: dict[str, Any], buffers: list[bytes] | None = None) -> str:
    msg = kernel.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
    kernel.client.session.send(kernel.client.shell_channel.socket, msg, buffers=buffers)  # pyright: ignore[reportArgumentType]
    return msg["header"]["msg_id"]


def update(kernel: RunningKernel, comm_id: str, buffers: dict[str, bytes] | None = None, **state: Any) -> str:
    """What a frontend sends when the user has moved something; the id of the message."""
    buffers = buffers or {}
    data = {
        "method": "update",
        "state": state,
        "buffer_paths": [[int(p) if p.isdigit() else p for p in path.split("/")] for path in buffers],
    }
    return send(kernel, comm_id, data, [*buffers.values()])


def states(messages: list[dict[str, Any]], comm_id: str) -> dict[str, Any]:
    """What the kernel has told a model, the last of each name."""
    found: dict[str, Any] = {}
    for each in messages:
        if each["msg_type"] == "comm_msg" and each["content"]["comm_id"] == comm_id:
            found.update(each["content"]["data"].get("state", {}))
    return found


def test_a_slider_moves_while_a_cell_awaits(kernel: RunningKernel) -> None:
    """There and back: the browser's value comes to the cell that waits for it, the cell's goes to the browser."""
    slider = model(kernel, "s = w.IntSlider(3); s")
    cell = kernel.client.execute("print(1)\nwhile s.value != 42: await anyio.sleep(0.001)\ns.value = 7")
    kernel.begun(cell)
    for value in (10, 42):
        assert states(kernel.published(update(kernel, slider, value=value)), slider) == {"value": value}
    assert states(kernel.published(cell), slider) == {"value": 7}
    assert kernel.reply(cell)["content"]["status"] == "ok"


def test_interact_shows_what_its_function_shows(kernel: RunningKernel) -> None:
    """The figure and the value of each move, in the Output of the interact, and of that move only."""
    kernel.run("%matplotlib inline")
    model(
        kernel, "def f(x):\n    plt.plot([x])\n    print('x', x)\n    return x * 2\ni = w.interact(f, x=(0, 9)).widget"
    )
    slider, output = id_of(kernel, "i.children[0]"), id_of(kernel, "i.out")
    messages = kernel.published(moved := update(kernel, slider, value=8))
    assert [m["msg_type"] for m in messages if m["msg_type"] != "comm_msg"] == [
        "clear_output", "stream", "display_data", "display_data"]  # fmt: skip
    # Between these two the frontend gives what it gets to the Output.
    captured = [m["content"]["data"]["state"]["msg_id"] for m in messages
                if m["msg_type"] == "comm_msg" and m["content"]["comm_id"] == output]  # fmt: skip
    assert captured == [moved, ""]
    kinds = [m["msg_type"] if m["msg_type"] != "comm_msg" else m["content"]["comm_id"] for m in messages]
    assert kinds.index(output) < kinds.index("stream") < len(kinds) - 1 - kinds[::-1].index(output)
    assert text_of(messages) == "x 8\n"
    value, figure = (m["content"]["data"] for m in messages if m["msg_type"] == "display_data")
    assert "image/png" in figure
    assert value["text/plain"] == "16"


def test_a_handler_that_raises_shows_its_error(kernel: RunningKernel) -> None:
    """Of a button and of an observer; the next click works."""
    model(kernel, "b = w.Button()\nclicks = []\ndef click(_):\n    clicks.append(1); 1 / (len(clicks) - 1)\n"
                  "b.on_click(click); b")  # fmt: skip
    button = id_of(kernel, "b")
    click = {"method": "custom", "content": {"event": "click"}}
    messages = kernel.published(send(kernel, button, click))
    assert [m["content"]["ename"] for m in messages if m["msg_type"] == "error"] == ["ZeroDivisionError"]
    assert not [m for m in kernel.published(send(kernel, button, click)) if m["msg_type"] == "error"]
    slider = model(kernel, "s = w.IntSlider(3)\ns.observe(lambda change: [][change.new], 'value'); s")
    messages = kernel.published(update(kernel, slider, value=4))
    assert [m["content"]["ename"] for m in messages if m["msg_type"] == "error"] == ["IndexError"]
    assert text_of(kernel.run("print(s.value)")[1]) == "4\n"


def test_an_upload_is_bytes(kernel: RunningKernel) -> None:
    """A file goes through the buffers of the message."""
    upload = model(kernel, "up = w.FileUpload(); up")
    file = {"name": "a.bin", "type": "", "size": 3, "last_modified": 0}
    update(kernel, upload, {"value/0/content": b"\x00\xff\x01"}, value=[file])
    assert (
        text_of(kernel.run("print(bytes(up.value[0].content), up.value[0].name)")[1]) == r"b'\x00\xff\x01' a.bin" "\n"
    )


def test_output_captures_what_a_thread_and_a_task_of_the_cell_print(kernel: RunningKernel) -> None:
    """`with out:` takes the output of its own cell: its message id is the one that the prints have."""
    model(kernel, "out = w.Output(); out")
    for mode in ("", "# task\n", "# thread\n"):
        msg_id = kernel.client.execute(f"{mode}with out:\n    print('in')\nprint('after')")
        messages = kernel.published(msg_id)
        comm_id = messages[1]["content"]["comm_id"]
        ids = [m["content"]["data"]["state"]["msg_id"] for m in messages if m["content"].get("comm_id") == comm_id]
        assert ids == [msg_id, ""]
        kinds = [m["msg_type"] for m in messages]
        assert kinds == ["execute_input", "comm_msg", "stream", "comm_msg", "stream"]
        assert kernel.reply(msg_id)["content"]["status"] == "ok"


def test_anywidget(kernel: RunningKernel) -> None:
    """State, messages of its own, and buffers both ways."""
    pytest.importorskip("anywidget")
    counter = model(kernel, ANY)
    assert states(kernel.published(update(kernel, counter, value=5)), counter) == {"value": 5}
    update(kernel, counter, {"blob": b"\x01\x02"}, value=6)
    assert text_of(kernel.run("print(counter.value, bytes(counter.blob))")[1]) == r"6 b'\x01\x02'" "\n"
    (answer,) = kernel.published(send(kernel, counter, {"method": "custom", "content": "hello"}, [b"abc"]))
    assert answer["content"]["data"] == {"method": "custom", "content": {"got": "hello"}}
    assert [bytes(each) for each in answer["buffers"]] == [b"cba"]


def test_ipympl_pans(kernel: RunningKernel) -> None:
    """The mouse events of the browser move the axes, and the new picture comes back as a buffer."""
    pytest.importorskip("ipympl")
    kernel.run("plt.close('all')")
    canvas = model(
        kernel,
        "%matplotlib ipympl\nfig, ax = plt.subplots(); ax.plot([0, 1]); ax.set(xlim=(0, 1), ylim=(0, 1))\nfig.canvas",
    )

    def event(kind: str, **fields: Any) -> list[dict[str, Any]]:
        return kernel.published(send(kernel, canvas, {"method": "custom", "content": {"type": kind, **fields}}))

    event("send_image_mode")
    event("toolbar_button", name="pan")
    mouse = {"y": 240, "modifiers": [], "guiEvent": {}}
    event("button_press", x=300, button=0, buttons=1, **mouse)
    event("motion_notify", x=360, button=0, buttons=1, **mouse)
    event("button_release", x=360, button=0, buttons=0, **mouse)
    pictures = event("draw")
    low, high = json.loads(text_of(kernel.run("import json; print(json.dumps(ax.get_xlim()))")[1]))
    assert low == pytest.approx(-60 / 496, abs=0.01)
    assert high - low == pytest.approx(1)
    assert any(len(each) > 1000 for m in pictures for each in m.get("buffers", ()))
    kernel.run("plt.close('all')\n%matplotlib inline")


def test_figures_belong_to_their_cells(kernel: RunningKernel) -> None:
    """Shown at the end of the cell that drew them, whatever its run mode, and of no other."""
    kernel.run("%matplotlib inline")
    for mode in ("", "# task\n", "# thread\n"):
        _, messages = kernel.run(f"{mode}plt.plot([1, 2]); None")
        assert [m["msg_type"] for m in messages] == ["execute_input", "display_data"], mode
        assert messages[1]["content"]["data"]["image/png"].startswith("iVBOR")
    _, messages = kernel.run("plt.plot([1]); 1 / 0")
    assert {m["msg_type"] for m in messages} == {"execute_input", "error", "display_data"}
    assert [m["msg_type"] for m in kernel.run("None")[1]] == ["execute_input"]
