"""Run commands on hostile models in one process, and record what Python does meanwhile.

    python model_child.py

Each line of the input is a JSON list: a command of SharpEye's with its arguments, or `studio`
PATH, `weights` PATH. The output is a line of JSON for each.
"""

import contextlib
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import hostile_child  # of tests/artefact, which is on the path


def open_in_studio(path: str) -> None:
    from sharpeye.studio.prediction_view import ModelCache

    ModelCache().open(Path(path))


def read_weights(path: str) -> None:
    """What `train --weights FILE` does first, in the process that converts."""
    from sharpeye.models.weights.frozen_graph_file import is_frozen_graph
    from sharpeye.models.weights.weight_file_check import check_weight_file
    from sharpeye.models.weights.weight_files import read_weight_file

    if is_frozen_graph(Path(path)):
        from sharpeye.models.frozen_graph_to_onnx import convert

        convert("mobilenet_0.25_128", path, size="128x128", out="/dev/null")
    else:
        check_weight_file(Path(path))
        read_weight_file(Path(path))


FUNCTIONS = {"studio": open_in_studio, "weights": read_weights}


def call(name: str, *arguments: str) -> int:
    from sharpeye.cli.app import run
    from sharpeye.errors import SharpEyeError

    if name not in FUNCTIONS:
        return run([name, *arguments])
    try:
        FUNCTIONS[name](*arguments)
    except SharpEyeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def measured(arguments: list[str]) -> dict[str, Any]:
    out, err = io.StringIO(), io.StringIO()
    hostile_child.events.clear()
    before, started = hostile_child.peak_memory(), time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        hostile_child.watching = True
        try:
            code = call(*arguments)
        except BaseException as error:
            code = -1
            err.write(f"Traceback {error!r}")
        finally:
            hostile_child.watching = False
    return {
        "code": code,
        "out": out.getvalue(),
        "err": err.getvalue(),
        "seconds": time.process_time() - started,
        "grown_mib": hostile_child.peak_memory() - before,
        "events": sorted(set(hostile_child.events)),
        "tensorflow": "tensorflow" in sys.modules,
    }


if __name__ == "__main__":
    sys.addaudithook(hostile_child.watch)
    for line in sys.stdin:
        print(json.dumps(measured(json.loads(line))), flush=True)
