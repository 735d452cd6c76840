"""What every room's tests share: both backends, by the name that anyio's own pytest plugin uses."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A machine under load is no fault of what is tested: no deadlines. `make fuzz` says how many examples.
EXAMPLES = int(os.environ.get("ASYNC_KERNEL_FUZZ", "0"))
settings.register_profile("quiet", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
QUIET = settings.get_profile("quiet")
settings.register_profile("quick", QUIET, max_examples=30, derandomize=True)
settings.register_profile("fuzz", QUIET, max_examples=EXAMPLES or 1, print_blob=True)
settings.load_profile("fuzz" if EXAMPLES else "quick")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What a script starts in the background ignores Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What kernels leave in Jupyter's runtime folder, their logs above all, is not left to the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each test marked `anyio`, and each that asks for this fixture, runs on asyncio and on trio."""
    return request.param
