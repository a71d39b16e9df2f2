"""Predict with hostile models in a process of its own, and record all that Python does.

    python hostile_child.py GOOD... -- IMAGE HOSTILE...

It prints a line of JSON per model: what `sharpeye predict` printed, and what it did meanwhile.
"""

import contextlib
import io
import json
import os
import resource
import sys
import time
from typing import Any

WATCHED = ("open", "socket", "subprocess", "os.", "exec", "compile", "import", "pickle", "marshal")
WATCHED += ("ctypes", "shutil", "tempfile", "urllib", "http", "ftplib", "pty", "sqlite3", "code")
# Typer sets a variable of pydantic's, and resets it.
HARMLESS = ("os.putenv", "os.unsetenv")

events: list[tuple[str, str]] = []
sessions: list[str] = []
watching = False


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not watching or not event.startswith(WATCHED) or event in HARMLESS:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int):  # a descriptor that is open already
            return
        path = os.fsdecode(path) if isinstance(path, str | bytes) else str(path)
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        events.append(("write" if writes else "read", os.path.realpath(path)))
    else:
        events.append((event, repr(arguments)[:200]))


def peak_memory() -> float:
    """The largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def predict(model: str, image: str) -> dict[str, Any]:
    global watching
    from sharpeye.cli.app import run

    out, err = io.StringIO(), io.StringIO()
    events.clear()
    sessions.clear()
    before, start = peak_memory(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        watching = True
        try:
            code = run(["predict", model, image])
        except BaseException as error:
            code = -1
            err.write(f"Traceback {error!r}")
        finally:
            watching = False
    return {
        "model": model,
        "code": code,
        "out": out.getvalue(),
        "err": err.getvalue(),
        "seconds": time.monotonic() - start,
        "grown_mib": peak_memory() - before,
        "events": list(events),
        "sessions": len(sessions),
    }


def main() -> None:
    import onnxruntime

    original = onnxruntime.InferenceSession

    def counted(*arguments: Any, **options: Any) -> Any:
        sessions.append("opened")
        return original(*arguments, **options)

    onnxruntime.InferenceSession = counted
    split = sys.argv.index("--")
    image = sys.argv[split + 1]
    for good in sys.argv[1:split]:  # so that late imports happen before the hook
        result = predict(good, image)
        if not good.endswith("nothing") and result["code"] != 0:
            sys.exit(f"{good}: {result}")
    sys.addaudithook(watch)
    for model in sys.argv[split + 2 :]:
        print(json.dumps(predict(model, image)), flush=True)


if __name__ == "__main__":
    main()
