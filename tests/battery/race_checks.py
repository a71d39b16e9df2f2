"""Rounds of commands that run at once, and what they must have left."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import sharpeye
from battery.race_server import RaceCommand, RaceResult, command
from battery.tally import Tally, TracebackError
from runner import SMALL, scores_of, temporaries
from sharpeye.data.vector_store import VectorStore, iter_vector_folders


def train(data: Path, output: Path, *options: str, **more: float) -> RaceCommand:
    return command("train", data, "-o", output, *SMALL, "--quiet", *options, **more)


def check_result(result: RaceResult, codes: set[int]) -> None:
    text = f"exit code {result.code}: {result.out}{result.err}"
    if "Traceback" in text or result.code == 1 or result.code < 0:
        raise TracebackError(text[-2000:])
    assert result.code in codes, text


def check_same(run_dir: Path, serial: Path) -> None:
    """Fail unless a run has the results of the serial one, and is complete."""
    one, other = sharpeye.Run(run_dir), sharpeye.Run(serial)
    assert scores_of(one.metrics) == scores_of(other.metrics)
    for name in ("split.csv", "predictions.csv", "labels.txt", "quarantine.csv"):
        assert (run_dir / name).read_bytes() == (serial / name).read_bytes(), name
    assert sorted(path.name for path in run_dir.iterdir()) == sorted(
        path.name for path in serial.iterdir()
    )
    sharpeye.load(run_dir)


def check_cache(cache: Path, images: Path) -> int:
    """Fail after a damaged record or a temporary file; returns the number of records."""
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in images.rglob("*.png")}
    records = 0
    for _, key, size in iter_vector_folders(cache):
        dimension = key.pop("dimension")
        store = VectorStore(key, dimension, cache)
        stored = dict(store.read(digests))
        assert len(stored) == store.count(digests), "damaged records"
        assert all(np.isfinite(vector).all() for vector in stored.values())
        records += size // (4 * dimension + 48)
    assert temporaries(cache) == []
    return records


@contextlib.contextmanager
def round_of(tally: Tally, name: str, folder: Path, cache: Path) -> Iterator[Path]:
    """A case with a new folder; the cache has only its backbones afterwards."""
    folder.mkdir()
    with tally.case(name):
        yield folder
    shutil.rmtree(folder, ignore_errors=True)
    for entry in cache.iterdir():
        if entry.name != "backbones":
            shutil.rmtree(entry, ignore_errors=True)
