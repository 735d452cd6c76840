"""Use the installed package as somebody does who only ran `pip install`: find its kernel and execute cells on it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import start_new_kernel


def main() -> None:
    spec = find_spec("async_kernel")
    assert spec is not None, "async_kernel is not installed"
    assert Path(spec.origin or "").is_relative_to(sys.prefix), f"this is not the wheel: {spec.origin}"
    folder = KernelSpecManager().get_kernel_spec("async").resource_dir
    assert Path(folder).is_relative_to(sys.prefix), f"this is not the wheel's kernelspec: {folder}"
    manager, client = start_new_kernel(kernel_name="async")
    seen: list[tuple[str, Any]] = []
    try:
        code = "import anyio; await anyio.sleep(0.01); print('hello'); 6 * 7"
        reply = client.execute_interactive(
            code, timeout=30, output_hook=lambda message: seen.append((message["msg_type"], message["content"]))
        )
        implementation = client.kernel_info(reply=True, timeout=30)["content"]["implementation"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    outputs = {kind: content for kind, content in seen if kind in ("stream", "execute_result")}
    assert reply["content"]["status"] == "ok", reply["content"]
    assert implementation == "async_kernel", implementation
    assert outputs["stream"]["text"] == "hello\n", outputs
    assert outputs["execute_result"]["data"]["text/plain"] == "42", outputs
    print(f"the wheel's kernel works: {folder}")


if __name__ == "__main__":
    main()
