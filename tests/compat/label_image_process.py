"""A process that runs many calls of `sharpeye label-image`: it imports TensorFlow once."""

import json
import subprocess
import sys
from collections.abc import Iterator
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


@dataclass(frozen=True)
class LabelImage:
    """Call it to run `sharpeye label-image` in the process.

    Attributes:
        home: the working directory, unless a call has another one.
        log: the process's stderr, which libraries such as TensorFlow write to directly.
    """

    process: "subprocess.Popen[str]"
    home: Path
    log: Path

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> Output:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps([str(cwd or self.home), "label-image", *map(str, arguments)])
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return Output(*json.loads(self.process.stdout.readline()))


@contextmanager
def label_image_process(home: Path, cache: Path, log: Path) -> Iterator[LabelImage]:
    """Run the process until the block ends, without TensorFlow's environment variables."""
    env = {k: v for k, v in environment(cache).items() if not k.startswith("TF_")}
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        yield LabelImage(process, home, log)
