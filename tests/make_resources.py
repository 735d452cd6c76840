"""Make the kernelspec that the wheel ships: `kernel.json` from the profile `default`, the logo in three forms.

Run it (`python tests/make_resources.py`) when `tests/test_kernelspec.py` says that the resources are stale.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from async_kernel import kernelspec
from async_kernel.config.profile import load_profile

# Three lanes that run side by side, on a dark tile: x, y, width, height, radius, colour; the tile is 64 units wide.
SHAPES = (
    (2.0, 2.0, 60.0, 60.0, 14.0, "#232b45"),
    (11.0, 14.0, 30.0, 9.0, 4.5, "#ffd43b"),
    (21.0, 27.5, 32.0, 9.0, 4.5, "#4fd1c5"),
    (14.0, 41.0, 24.0, 9.0, 4.5, "#f687b3"),
    (43.0, 41.0, 9.0, 9.0, 4.5, "#ffffff"),
)


def svg() -> bytes:
    """The logo as text."""
    rows = (
        f'  <rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{r:g}" fill="{colour}"/>'
        for x, y, w, h, r, colour in SHAPES
    )
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" role="img" aria-label="async_kernel">'
    return "\n".join([head, *rows, "</svg>", ""]).encode()


def png(size: int, samples: int = 4) -> bytes:
    """The logo as pixels: `size` in each direction, smoothed by `samples` squared points for each."""
    step = 64 / size / samples
    rows: list[bytes] = []
    for y in range(size):
        row = bytearray(b"\0")  # filter 0: none
        for x in range(size):
            points = [
                colour_at((x * samples + i + 0.5) * step, (y * samples + j + 0.5) * step)
                for i in range(samples)
                for j in range(samples)
            ]
            seen = [point for point in points if point]
            row += bytes(sum(point[n] for point in seen) // max(len(seen), 1) for n in range(3))
            row.append(255 * len(seen) // len(points))
        rows.append(bytes(row))
    header = struct.pack(">IIBBBBB", size, size, 8, 6, 0, 0, 0)  # 8 bits each of red, green, blue, alpha
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def colour_at(x: float, y: float) -> tuple[int, int, int] | None:
    """The colour of the topmost shape at a point."""
    found = None
    for left, top, width, height, radius, colour in SHAPES:
        dx = max(left + radius - x, x - (left + width - radius), 0.0)
        dy = max(top + radius - y, y - (top + height - radius), 0.0)
        if dx * dx + dy * dy <= radius * radius:
            found = int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
    return found


def logos() -> dict[str, bytes]:
    """File name -> content."""
    return {"logo-svg.svg": svg(), "logo-32x32.png": png(32), "logo-64x64.png": png(64)}


def kernel_json() -> bytes:
    """The `kernel.json` of the profile `default`; Jupyter puts its own interpreter in the place of `python`."""
    folder = Path(kernelspec.__file__).parents[1] / "profiles"
    profile = load_profile("default", environ={"ASYNC_KERNEL_PROFILES": str(folder), "JUPYTER_CONFIG_DIR": "/nowhere"})
    return kernelspec.spec_files(profile, kernelspec.RESOURCES, python="python")["kernel.json"]


if __name__ == "__main__":
    kernelspec.RESOURCES.mkdir(parents=True, exist_ok=True)
    for name, content in {**logos(), "kernel.json": kernel_json()}.items():
        (kernelspec.RESOURCES / name).write_bytes(content)
