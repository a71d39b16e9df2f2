"""Runs SharpEye's commands for tests: in this process, or as processes of their own."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharpeye.cli.app import run
from sharpeye.core.storage import TEMPORARY_PREFIX
from sharpeye.models.backbone import BackboneConfig

# Windows has no such signal: there, `Popen.send_signal` ends the process at once, too.
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)
SMALL = ("--set", "model.image_size=64")
# A backbone with feature maps, quick to make.
MAPS = BackboneConfig("mobilenet_v2_0.35_96", "random", 64, fit="stretch", maps=True)
FILES = (
    "README.md",
    "bundle.json",
    "config.toml",
    "confusion_matrix.png",
    "history.csv",
    "labels.txt",
    "metrics.json",
    "misclassified.csv",
    "model.onnx",
    "predictions.csv",
    "quarantine.csv",
    "report.html",
    "split.csv",
    "tensorboard",
)


# Knobs of a network from scratch: 16 px images, 8 channels, some milliseconds an epoch.
TINY = {
    "model__name": "cnn",
    "model__image_size": 16,
    "net__conv_layers": 1,
    "net__layer_size": 8,
    "train__epochs": 3,
    "train__batch_size": 8,
    "train__precision": "float32",  # so that figures are the same on all processors
}


def hard_photos(folder: Path, per_class: int = 12, seed: int = 0) -> Path:
    """Noise with a faint tint: predictions are uncertain, so that a difference is visible."""
    random = np.random.default_rng(seed)
    for channel, label in enumerate(("ash", "birch", "cedar")):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            colour = np.full(3, 128.0)
            colour[channel] += random.normal(14, 22)
            pixels = np.clip(colour + random.normal(0, 40, (48, 56, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{label}{number}.png")
    return folder


def train_here(data: Path, output: Path, *options: str) -> int:
    """`sharpeye train` in this process, with the small backbone; returns the exit code."""
    return run(["train", str(data), "-o", str(output), *SMALL, *options])


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "sharpeye", *map(str, arguments)]


def environment(cache: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "SHARPEYE_CACHE": str(cache), **more}


def start(
    *arguments: str | Path,
    cache: Path,
    cwd: Path | None = None,
    preexec: Callable[[], None] | None = None,
) -> "subprocess.Popen[str]":
    """Start a command as a process of its own; the caller waits for it."""
    return subprocess.Popen(
        command(*arguments),
        env=environment(cache),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec,
    )


@contextlib.contextmanager
def announced_process(
    arguments: list[str], *, env: dict[str, str], cwd: Path | None = None
) -> Iterator[tuple["subprocess.Popen[str]", str, str]]:
    """A Python process whose first line ends with its address: (process, address, that line)."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r" at (http://\S+)$", line.strip())
        if not address:
            process.kill()
            raise AssertionError(f"{line!r}, then: {process.communicate()[1]}")
        yield process, address[1], line
    finally:
        if process.poll() is None:
            process.kill()
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


def call(
    *arguments: str | Path,
    cache: Path,
    cwd: Path | None = None,
    preexec: Callable[[], None] | None = None,
    timeout: float = 120,
) -> "subprocess.CompletedProcess[str]":
    """Run a command as a process of its own, to its end."""
    process = start(*arguments, cache=cache, cwd=cwd, preexec=preexec)
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def train_args(data: Path, output: Path, *options: str) -> tuple[str, ...]:
    return ("train", str(data), "-o", str(output), *SMALL, *options)


def share_backbones(source: Path, cache: Path, *, link: bool = True) -> Path:
    """Give a cache the frozen backbones of another one, to avoid another conversion.

    Without `link` they are real copies, which a test may damage.
    """
    copy = os.link if link else shutil.copy2
    shutil.copytree(source / "backbones", cache / "backbones", copy_function=copy)
    return cache


def tree(folder: Path) -> dict[str, str]:
    """Digest and mode of everything below a folder, by relative path."""
    result = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        result[str(path.relative_to(folder))] = f"{status.st_mode:o} {content}"
    return result


def temporaries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]


def one_line(text: str) -> str:
    """The only line of `text`, which is no traceback."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def head_of(run_dir: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The classifier's weights and bias, as they lie in `model.onnx`."""
    import onnx
    from onnx import numpy_helper

    arrays = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(run_dir / "model.onnx").graph.initializer
    }
    return arrays["head_weights"], arrays["head_bias"]


def scores_of(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `metrics.json` without the seconds, which differ from run to run."""
    return {part: metrics[part] for part in ("validation", "test")}


def same_model(one: Path, other: Path) -> None:
    """Fail unless two run directories hold the same head, to the last few bits."""
    for first, second in zip(head_of(one), head_of(other), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


@contextlib.contextmanager
def repeatedly(function: Callable[[], object], *, seconds: float) -> Iterator[None]:
    """Call a function on a thread again and again, so many seconds apart, until the block ends."""
    ended = threading.Event()

    def call_until_the_end() -> None:
        while not ended.wait(seconds):
            function()

    thread = threading.Thread(target=call_until_the_end)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def mounted_disk(folder: Path, *, mebibytes: int, files: int = 0) -> Iterator[Path]:
    """A small disk of its own at an empty folder; the test is skipped where none can be mounted.

    It has room for so many files and folders, its own among them, or for any number with 0.
    """
    options = f"size={mebibytes}m,nr_inodes={files}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a disk can be mounted here by nobody")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
