"""Values and displays become messages."""

from __future__ import annotations

import base64
import threading
from typing import Any

import pytest

from tests.shell.bench import Bench

pytestmark = pytest.mark.anyio


async def test_display_and_update(bench: Bench) -> None:
    """A progress bar could not be updated in place."""
    await bench.run("h = display('a', display_id=True)\nh.update('b')")
    (shown,) = bench.published.of("display_data")
    (updated,) = bench.published.of("update_display_data")
    assert shown["data"] == {"text/plain": "'a'"}
    assert shown["transient"] == updated["transient"] == {"display_id": bench.shell.user_ns["h"].display_id}
    assert updated["data"] == {"text/plain": "'b'"}


async def test_text_and_displays_keep_their_order(bench: Bench) -> None:
    """A table would be shown above its heading."""
    code = "import sys\nprint(1)\ndisplay(2)\nprint(3, end='')\nprint(4, file=sys.stderr)\ndisplay(5)\nprint(6)\n7"
    await bench.run(code)
    assert bench.published.types == [
        "execute_input",
        "stream",
        "display_data",
        "stream",
        "stream",
        "display_data",
        "stream",
        "execute_result",
    ]
    assert bench.published.text() == "1\n34\n6\n"


async def test_clear_output(bench: Bench) -> None:
    """An animation would grow instead of moving."""
    await bench.run("from IPython.display import clear_output\nprint(1)\nclear_output(wait=True)\nprint(2)")
    assert bench.published.types == ["execute_input", "stream", "clear_output", "stream"]
    assert bench.published.of("clear_output") == [{"wait": True}]


async def test_rich_representations(bench: Bench) -> None:
    """Data frames and images would be shown as text only."""
    code = "class A:\n    def _repr_html_(self): return '<b>'\n    def _repr_png_(self): return b'png'\nA()"
    await bench.run(code)
    (result,) = bench.published.of("execute_result")
    assert result["data"]["text/html"] == "<b>"
    assert base64.b64decode(result["data"]["image/png"]) == b"png"
    await bench.run("from IPython.display import publish_display_data as show\nshow({'image/x': memoryview(b'12')})")
    assert bench.published.of("display_data")[0]["data"] == {"image/x": "MTI="}
    reply = await bench.run("show(3)")
    assert reply["ename"] == "TypeError"


async def test_a_display_that_shows_itself(bench: Bench) -> None:
    """Widgets that publish themselves would be shown twice."""
    await bench.run("class A:\n    def _ipython_display_(self): print('me')\nA()")
    assert bench.published.types == ["execute_input", "stream"]


async def test_hooks_see_and_change_messages(bench: Bench) -> None:
    """Libraries that redirect displays would do nothing."""
    seen: list[dict[str, Any]] = []

    def note(message: dict[str, Any]) -> dict[str, Any] | None:
        seen.append(message)
        message["content"]["data"]["text/plain"] += "!"
        return message if len(seen) < 3 else None

    shell: Any = bench.shell
    shell.display_pub.register_hook(note)
    shell.displayhook.register_hook(note)
    await bench.run("display('a')\n'b'")
    assert bench.published.of("display_data")[0]["data"] == {"text/plain": "'a'!"}
    assert bench.published.of("execute_result")[0]["data"] == {"text/plain": "'b'!"}
    assert [each["msg_type"] for each in seen] == ["display_data", "execute_result"]
    assert seen[0]["parent_header"]["msg_id"] == "job"
    await bench.run("display('c')")
    assert bench.published.types == ["execute_input"]
    assert shell.display_pub.unregister_hook(note)
    assert not shell.display_pub.unregister_hook(note)
    await bench.run("display('d')")
    assert bench.published.of("display_data")[0]["data"] == {"text/plain": "'d'"}


async def test_hooks_are_of_their_thread(bench: Bench) -> None:
    """A hook would catch what other threads display."""
    shell: Any = bench.shell
    shell.display_pub.register_hook(lambda _message: None)
    thread = threading.Thread(target=shell.display_pub.publish, args=({"text/plain": "x"},))
    thread.start()
    thread.join()
    assert bench.published.types == ["display_data"]


async def test_notebook_magic_finds_the_outputs(bench: Bench) -> None:
    """`%history -o` would have no outputs."""
    await bench.run("6 * 7")
    await bench.run("%history -o -n")
    assert "42" in bench.published.text()


async def test_what_is_not_in_the_history_is_not_kept(bench: Bench) -> None:
    """A client that asks again and again for a value would fill the memory."""
    for _ in range(3):
        await bench.run("[*range(1000)]", store_history=False)
    history: Any = bench.shell.history_manager
    assert not history.outputs
    assert not history.output_hist_reprs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
async def test_matplotlib(bench: Bench) -> None:
    """A plot would not be shown at the end of its cell."""
    pytest.importorskip("matplotlib")
    reply = await bench.run("%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert reply["status"] == "ok", reply
    (figure,) = bench.published.of("display_data")
    assert base64.b64decode(figure["data"]["image/png"]).startswith(b"\x89PNG")
    assert bench.published.of("execute_result") == []
    await bench.run("fig, _ = plt.subplots()\nplt.close(fig)\nfig")
    assert "image/png" in bench.published.of("execute_result")[0]["data"]
    reply = await bench.run("%matplotlib nonsense")
    assert reply["status"] == "error"
