"""Decode files in this process, and write what came of each: `-m battery.decode_files LIST`.

LIST has a path a line. One JSON line a file: the reason of a refusal; processor seconds; the peak
of memory above that of the idle process; what no decoder may do (start programs, open sockets,
write); a digest of the pixels, and whether they are those of Pillow's own decode. The process ends
itself when a file takes longer than ten seconds.
"""

import faulthandler
import io
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from battery.image_case import digest_pixels

_FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.", "pty.")
_MAX_WALL_SECONDS = 10
_MAX_COMPARED = 20_000_000  # samples; Pillow's own decode of larger images takes too long
_events: list[str] = []


def _note_event(event: str, arguments: tuple[Any, ...]) -> None:
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
    if event.startswith(_FORBIDDEN) or event == "pickle.find_class" or writes:
        _events.append(f"{event} {arguments!r}"[:200])


def _status(field: str) -> int:
    """Bytes, from /proc/self/status; 0 on systems without it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def _reset_peak() -> None:
    if os.path.exists("/proc/self/clear_refs"):
        Path("/proc/self/clear_refs").write_text("5")
    _events.clear()  # That was this program's own write.


def pillow_pixels(data: bytes) -> np.ndarray | None:
    """uint8[H,W,3] as Pillow decodes a file, upright and over white; None where it refuses."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            image.load()
            image = ImageOps.exif_transpose(image)
    except Exception:  # as nearly any exception may come
        return None
    if image.mode.startswith("I;16"):
        return np.dstack([(np.asarray(image) >> 8).astype(np.uint8)] * 3)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    return np.asarray(image.convert("RGB"))


def decode_file(file: str, idle: int) -> dict[str, Any]:
    from sharpeye.errors import ImageReadError
    from sharpeye.images.decode import decode, read_file

    _reset_peak()
    faulthandler.dump_traceback_later(_MAX_WALL_SECONDS, exit=True)
    started = time.process_time()
    result: dict[str, Any] = {"file": file, "reason": ""}
    pixels = None
    try:
        data = read_file(Path(file), file)
        image = decode(data, file)
        result["peak"] = max(_status("VmHWM") - idle, 0)
        pixels = np.asarray(image)
    except ImageReadError as error:
        result |= {"reason": error.reason, "transient": error.transient}
    faulthandler.cancel_dump_traceback_later()
    result["seconds"] = time.process_time() - started
    result.setdefault("peak", max(_status("VmHWM") - idle, 0))
    result["events"] = [*_events]
    if pixels is not None:
        result["pixels"] = digest_pixels(pixels)
        reference = pillow_pixels(data) if pixels.size < _MAX_COMPARED else None
        result["as_pillow"] = None if reference is None else np.array_equal(pixels, reference)
    return result


def main(files: list[str]) -> None:
    from PIL import Image

    from sharpeye.images.decode import decode

    Image.init()
    buffer = io.BytesIO()
    Image.new("RGB", (99, 99)).save(buffer, "JPEG")
    decode(buffer.getvalue(), "x")
    idle = _status("VmRSS")
    sys.addaudithook(_note_event)
    for file in files:
        print(json.dumps(decode_file(file, idle)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())
