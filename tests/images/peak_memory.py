"""Measure peak memory in a process of its own: `python peak_memory.py decode FILE...`.

python peak_memory.py decode FILE...     # one JSON line a file: estimated and measured bytes
python peak_memory.py run CORES ARGS...  # a command of SharpEye; the peak in bytes at the end
"""

import json
import os
import sys
from pathlib import Path


def status(field: str) -> int:
    """A number of bytes from /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def measure(file: str) -> dict[str, int]:
    """Decode a file; the caller forks, so that no memory of an earlier decode is used again."""
    from sharpeye.images.decode import decode
    from sharpeye.images.decode_limits import DecodeLimits
    from sharpeye.images.decode_memory import estimate_bytes
    from sharpeye.images.open_image import open_checked

    limits = DecodeLimits(memory_bytes=10**11, seconds=100, file_bytes=10**9)
    data = Path(file).read_bytes()
    with open_checked(data, file, limits) as (image, format_):
        estimated = estimate_bytes(image, data, format_)
    Path("/proc/self/clear_refs").write_text("5")  # The peak begins anew.
    before = status("VmRSS")
    kept = decode(data, file, limits)
    peak = status("VmHWM") - before + len(data)
    return {"estimated": estimated, "measured": peak, "pixels": kept.width * kept.height}


def decode_files(files: list[str]) -> None:
    import numpy  # noqa: F401
    from PIL import Image

    Image.init()
    for file in files:
        sys.stdout.flush()
        if os.fork() == 0:
            print(json.dumps({"file": Path(file).name, **measure(file)}), flush=True)
            os._exit(0)
        os.wait()


def run_command(cores: int, arguments: list[str]) -> None:
    os.sched_getaffinity = lambda _=0: set(range(cores))  # type: ignore[assignment]
    from sharpeye.cli.app import run

    code = run(arguments)
    print(json.dumps({"code": code, "peak": status("VmHWM")}), file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1] == "decode":
        decode_files(sys.argv[2:])
    else:
        run_command(int(sys.argv[2]), sys.argv[3:])
