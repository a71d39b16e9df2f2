"""A process that runs many calls of `sharpeye label-image`: it imports TensorFlow once."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runner import environment

# One call a JSON line.
_SERVER = """
import contextlib, io, json, os, sys
from sharpeye.cli.app import run
for line in sys.stdin:
    folder, *arguments = json.loads(line)
    os.chdir(folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@dataclass(frozen=True)
class Output:
    """The output of `sharpeye label-image`, and the scores in it."""

    code: int
    out: str
    err: str
    scores: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        lines = [line for line in self.out.splitlines() if line.endswith(")") and "(score=" in line]
        pairs = [line[:-1].split(" (score=") for line in lines]
        object.__setattr__(self, "scores", {label: float(score) for label, score in pairs})


LabelImage = Callable[..., Output]


@contextmanager
def label_image_process(home: Path, cache: Path) -> Iterator[LabelImage]:
    """Yields `label_image(*arguments, cwd=home)`."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        env=environment(cache),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        to_server, from_server = server.stdin, server.stdout

        def call(*arguments: str | Path, cwd: Path = home) -> Output:
            line = json.dumps([str(cwd), "label-image", *map(str, arguments)])
            to_server.write(line + "\n")
            to_server.flush()
            return Output(*json.loads(from_server.readline()))

        yield call
