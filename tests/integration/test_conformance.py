"""The conformance package of the Jupyter project, every sample filled in, for each built-in profile."""

from __future__ import annotations

import jupyter_kernel_test
import pytest

pytestmark = [pytest.mark.usefixtures("kernelspecs"), pytest.mark.slow]


# The samples are class attributes, as the package's own documentation has them.
# ruff: noqa: RUF012
class _Samples(jupyter_kernel_test.KernelTests):
    __test__ = False

    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [
        {"text": "zi", "matches": {"zip"}},
        {"text": "import ran", "matches": {"random"}},
    ]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('on purpose')"
    code_execute_result = [
        {"code": "6*7", "result": "42"},
        {"code": "'a' * 3", "result": "'aaa'"},
    ]
    code_display_data = [
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math(r'\\frac{1}{2}'))", "mime": "text/latex"},
    ]
    code_history_pattern = "6?7"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


class TestDefault(_Samples):
    """Profile default: asyncio over tcp."""

    __test__ = True
    kernel_name = "async"


class TestTrio(_Samples):
    """Profile trio."""

    __test__ = True
    kernel_name = "async-trio"


class TestFast(_Samples):
    """Profile fast."""

    __test__ = True
    kernel_name = "async-fast"


class _Welcome(jupyter_kernel_test.IopubWelcomeTests):
    __test__ = False
    support_iopub_welcome = True


class TestWelcome(_Welcome):
    """A subscriber is told when it misses nothing any more (JEP 65)."""

    __test__ = True
    kernel_name = "async"


class TestWelcomeTrio(_Welcome):
    """The same on trio."""

    __test__ = True
    kernel_name = "async-trio"
