"""The door to ONNX Runtime."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import os, sys
import sharpeye
from sharpeye.core.inference import Graph

graph = Graph(sys.argv[1].encode() and open(sys.argv[1], "rb").read())
print(os.environ["ORT_DISABLE_TELEMETRY"], len(graph.outputs))
"""


def run_graph(model: Path, home: Path, **more: str) -> str:
    """What a program prints that opens a model; all that it might write would come into `home`."""
    variables = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME"), str(home))
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(model)],
        env={**variables, **places, **more},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_onnx_runtime_reports_nothing(trained: Path, tmp_path: Path) -> None:
    assert run_graph(trained / "model.onnx", tmp_path).startswith("1 ")
    assert list(tmp_path.rglob("*")) == []  # No identifier of the machine, no session.


def test_a_users_own_choice_stays(trained: Path, tmp_path: Path) -> None:
    text = run_graph(trained / "model.onnx", tmp_path, ORT_DISABLE_TELEMETRY="0")
    assert text.startswith("0 ")


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="of Linux")
def test_no_thread_but_those_of_the_computation_is_started(trained: Path, tmp_path: Path) -> None:
    """The uploader of reports would be a thread of its own."""
    program = _PROGRAM + "print(len(os.listdir('/proc/self/task')))"
    counts = []
    for value in ("1", "0"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(trained / "model.onnx")],
            env=os.environ | {"ORT_DISABLE_TELEMETRY": value, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        counts.append(int(done.stdout.split()[-1]))
    assert counts[0] <= counts[1]
