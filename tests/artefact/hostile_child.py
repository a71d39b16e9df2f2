"""Asks hostile models in a process of its own, where all that Python does is written down.

    python hostile_child.py GOOD... -- PICTURE HOSTILE...

Prints a line of JSON a model: what `sharpeye predict` said of it, and what it did meanwhile.
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
# Typer sets a variable of pydantic's, and takes it back.
HARMLESS = ("os.putenv", "os.unsetenv")

events: list[tuple[str, str]] = []
sessions: list[str] = []
watching = False


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not watching or not event.startswith(WATCHED) or event in HARMLESS:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int):  # that is open already
            return
        path = os.fsdecode(path) if isinstance(path, str | bytes) else str(path)
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        events.append(("write" if writes else "read", os.path.realpath(path)))
    else:
        events.append((event, repr(arguments)[:200]))


def memory() -> float:
    """The most that this process ever had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ask(model: str, image: str) -> dict[str, Any]:
    global watching
    from sharpeye.cli.app import run

    out, err = io.StringIO(), io.StringIO()
    events.clear()
    sessions.clear()
    before, start = memory(), time.monotonic()
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
        "grown_mib": memory() - before,
        "events": list(events),
        "sessions": len(sessions),
    }


def main() -> None:
    import onnxruntime

    real = onnxruntime.InferenceSession

    def counted(*arguments: Any, **more: Any) -> Any:
        sessions.append("opened")
        return real(*arguments, **more)

    onnxruntime.InferenceSession = counted
    split = sys.argv.index("--")
    image = sys.argv[split + 1]
    for good in sys.argv[1:split]:  # imports what is imported late
        said = ask(good, image)
        if not good.endswith("nothing") and said["code"] != 0:
            sys.exit(f"{good}: {said}")
    sys.addaudithook(watch)
    for model in sys.argv[split + 2 :]:
        print(json.dumps(ask(model, image)), flush=True)


if __name__ == "__main__":
    main()
