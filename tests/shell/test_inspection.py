"""The inspector, beside IPython's own."""

from __future__ import annotations

import pytest
from IPython.core import oinspect
from IPython.core.interactiveshell import ProvisionalWarning

from tests.shell.bench import Bench

pytestmark = pytest.mark.anyio
SETUP = """
class Curve:
    'A line.'
    def __init__(self, points: list) -> None: 'Of points.'
    def __call__(self, x: float) -> float: 'Its height.'
def f(x, y=1):
    'What f does.'
    return x
curve = Curve([])
"""


@pytest.mark.parametrize("detail_level", [0, 1])
@pytest.mark.parametrize("name", ["f", "Curve", "curve", "print", "%timeit"])
async def test_it_says_what_ipython_says(bench: Bench, name: str, detail_level: int) -> None:
    """A part of what is known would be missing, or look different, because nobody asked for HTML."""
    await bench.run(SETUP)
    found = await bench.shell.inspect_request(name, len(name), detail_level)
    assert list(found["data"]) == ["text/plain"]
    with pytest.warns(ProvisionalWarning, match="enable_html_pager"):
        bench.shell.enable_html_pager = True
    with_html = await bench.shell.inspect_request(name, len(name), detail_level)
    bench.shell.inspector = oinspect.Inspector(theme_name=bench.shell.colors, parent=bench.shell)
    assert with_html == await bench.shell.inspect_request(name, len(name), detail_level)
    assert with_html["data"].keys() == {"text/plain", "text/html"}
    assert found["data"]["text/plain"] == with_html["data"]["text/plain"]


async def test_html_is_not_made_for_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Shift-Tab would cost twice what it must."""
    await bench.run(SETUP)
    monkeypatch.delattr(oinspect, "pylight")
    assert (await bench.shell.inspect_request("f", 1, 1))["found"]


async def test_the_same_object_again(bench: Bench) -> None:
    """What is kept would be shown in the colours of another theme, or under another name."""
    await bench.run("import os\nfrom os import getcwd as where")
    shell = bench.shell
    first = await shell.inspect_request("os.getcwd", 9)
    assert await shell.inspect_request("os.getcwd", 9) == first
    assert "where()" in (await shell.inspect_request("where", 5))["data"]["text/plain"].replace("\x1b[39m", "")
    await bench.run("%colors nocolor")
    assert "\x1b" in first["data"]["text/plain"]
    assert "\x1b" not in (await shell.inspect_request("os.getcwd", 9))["data"]["text/plain"]


async def test_a_function_that_is_defined_anew(bench: Bench) -> None:
    """Help would show the parameters of a former version."""
    for parameters in ("alpha", "alpha, beta"):
        await bench.run(f"def f({parameters}): pass")
        assert f"f({parameters})" in (await bench.shell.inspect_request("f", 1))["data"]["text/plain"]
