"""The comms that a kernel has, asked for while they change."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from async_kernel.comm import CommManager
from tests.collector import MOMENTS, collecting


def test_they_can_be_listed_while_others_open() -> None:
    """`comm_info_request` would fail when a thread opens a widget."""

    def publish(*_args: Any, **_options: Any) -> None: ...

    manager = CommManager(publish)
    comms: dict[str, Any] = manager.comms
    comms |= {str(number): SimpleNamespace(target_name="t") for number in range(30)}
    for moment in MOMENTS:
        with collecting(moment, lambda: comms.update({f"more{len(comms)}": SimpleNamespace(target_name="t")})):
            assert len(manager.info("t")) >= 30
